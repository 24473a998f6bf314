package meta

// Space tells settings of one kind from those of another. The bytes are stored.
type Space byte

// The spaces of settings; the value of each is JSON.
const (
	// GroupConfigs are the configs of consumer groups, by group.
	GroupConfigs Space = 'g'
	// Credentials are SCRAM credentials, by mechanism and user.
	Credentials Space = 'u'
	// ACLs are access rules, by their text.
	ACLs Space = 'a'
	// Quotas are the limits of clients, by entity.
	Quotas Space = 'q'
	// BrokerConfigs are configs of the broker, by its id; of all brokers, by no name.
	BrokerConfigs Space = 'b'
)

func settingKey(space Space, name string) []byte {
	return append([]byte{kindSetting, byte(space)}, name...)
}

// PutSetting writes a setting.
func (b *Batch) PutSetting(space Space, name string, value []byte) {
	b.set(settingKey(space, name), value)
}

// DeleteSetting removes a setting, if it is there.
func (b *Batch) DeleteSetting(space Space, name string) { b.del(settingKey(space, name)) }

// Settings calls fn with every setting of a space, in the order of their names;
// value is valid only during the call.
func (s *Store) Settings(space Space, fn func(name string, value []byte) error) error {
	return s.scan([]byte{kindSetting, byte(space)}, func(k, v []byte) error { return fn(string(k), v) })
}
