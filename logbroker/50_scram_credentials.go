package logbroker

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/meta"
	"github.com/levada/levada/logbroker/sasl"
)

// scramMechanisms are the mechanisms of KIP-554 by their number.
var scramMechanisms = map[int8]string{1: sasl.SCRAM256, 2: sasl.SCRAM512}

// handleDescribeUserSCRAMCredentials answers DescribeUserScramCredentials, version
// 0 (KIP-554): which users there are, not what their passwords are. No users named
// are all.
func (b *Broker) handleDescribeUserSCRAMCredentials(r *request) {
	req := r.msg.(*kmsg.DescribeUserSCRAMCredentialsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeUserSCRAMCredentialsResponse)
	var names []string
	for _, u := range req.Users {
		names = append(names, u.Name)
	}
	if len(names) == 0 {
		names = b.security.userNames()
	}
	times := map[string]int{}
	for _, name := range names {
		times[name]++
	}
	for _, name := range names {
		rr := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
		rr.User = name
		switch n := times[name]; {
		case n == 0:
			continue // was named twice, and answered once
		case n > 1:
			times[name] = 0
			rr.ErrorCode, rr.ErrorMessage = alterError(fmt.Errorf("%w: user %q is named twice", kerr.DuplicateResource, name))
		default:
			rr.CredentialInfos, rr.ErrorMessage = b.describeUser(name), kmsg.StringPtr("")
			if len(rr.CredentialInfos) == 0 {
				rr.ErrorCode, rr.ErrorMessage = alterError(fmt.Errorf("%w: there is no user %q", kerr.ResourceNotFound, name))
			}
		}
		resp.Results = append(resp.Results, rr)
	}
	resp.ErrorMessage = kmsg.StringPtr("")
	r.respond(resp)
}

func (b *Broker) describeUser(name string) (out []kmsg.DescribeUserSCRAMCredentialsResponseResultCredentialInfo) {
	for _, number := range []int8{1, 2} {
		if c, ok := b.security.credential(scramMechanisms[number], name); ok {
			info := kmsg.NewDescribeUserSCRAMCredentialsResponseResultCredentialInfo()
			info.Mechanism, info.Iterations = number, int32(c.Iterations)
			out = append(out, info)
		}
	}
	return out
}

// handleAlterUserSCRAMCredentials answers AlterUserScramCredentials, version 0
// (KIP-554), when the change is durable.
func (b *Broker) handleAlterUserSCRAMCredentials(r *request) {
	req := r.msg.(*kmsg.AlterUserSCRAMCredentialsRequest)
	resp := req.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
	b.editSecurity(r, resp, func() {
		edit := newUserEdit()
		changes := changesOf(req)
		for _, name := range usersIn(req) {
			rr := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
			rr.User = name
			rr.ErrorCode, rr.ErrorMessage = alterError(b.alterUser(changes[name], name, edit))
			resp.Results = append(resp.Results, rr)
		}
		if err := b.storeUsers(edit); err != nil {
			for i := range resp.Results {
				if rr := &resp.Results[i]; rr.ErrorCode == 0 {
					rr.ErrorCode, rr.ErrorMessage = alterError(err)
				}
			}
		}
	})
}

// userChange is what a request changes of one user.
type userChange struct {
	deletions  []kmsg.AlterUserSCRAMCredentialsRequestDeletion
	upsertions []kmsg.AlterUserSCRAMCredentialsRequestUpsertion
}

// usersIn lists the users that a request changes.
func usersIn(req *kmsg.AlterUserSCRAMCredentialsRequest) []string {
	return slices.Sorted(maps.Keys(changesOf(req)))
}

func changesOf(req *kmsg.AlterUserSCRAMCredentialsRequest) map[string]*userChange {
	changes := map[string]*userChange{}
	of := func(name string) *userChange {
		if changes[name] == nil {
			changes[name] = &userChange{}
		}
		return changes[name]
	}
	for _, d := range req.Deletions {
		c := of(d.Name)
		c.deletions = append(c.deletions, d)
	}
	for _, u := range req.Upsertions {
		c := of(u.Name)
		c.upsertions = append(c.upsertions, u)
	}
	return changes
}

// userEdit is what is to become of credentials, by their keys.
type userEdit struct {
	set   map[string]sasl.Credential
	drop  map[string]bool
	added int // of set, that are new
}

func newUserEdit() *userEdit {
	return &userEdit{set: map[string]sasl.Credential{}, drop: map[string]bool{}}
}

// alterUser adds the change of one user to those of the request. As with Kafka a user
// may be changed once in a request, whatever the mechanism. security.edit is held.
func (b *Broker) alterUser(c *userChange, name string, all *userEdit) error {
	if name == "" {
		return fmt.Errorf("%w: the user has no name", kerr.UnacceptableCredential)
	}
	if b.security.isGiven(name) {
		return fmt.Errorf("%w: user %q is in the configuration, which goes first: change it in the file of --users, or Security.Users, and start the broker again", kerr.UnacceptableCredential, name)
	}
	var key string
	var set sasl.Credential // of an upsertion
	var err error
	if len(c.deletions) > 0 {
		key, err = b.deletion(name, c.deletions[0])
	} else {
		key, set, err = upsertion(name, c.upsertions[0])
	}
	switch {
	case err != nil:
		return err
	case len(c.deletions)+len(c.upsertions) > 1:
		return fmt.Errorf("%w: user %q is changed twice: send one change at a time", kerr.DuplicateResource, name)
	case len(c.deletions) > 0:
		all.drop[key] = true
		return nil
	}
	if _, there := b.security.users[key]; !there {
		if have := len(b.security.users) + all.added; have >= maxUsers {
			return fmt.Errorf("%w: there are %d credentials, more cannot be", kerr.PolicyViolation, have)
		}
		all.added++
	}
	all.set[key] = set
	return nil
}

func (b *Broker) deletion(name string, d kmsg.AlterUserSCRAMCredentialsRequestDeletion) (key string, err error) {
	mechanism, ok := scramMechanisms[d.Mechanism]
	if !ok {
		return "", unknownMechanism(d.Mechanism)
	}
	key = credentialKey(mechanism, name)
	if b.security.users[key].Iterations == 0 {
		return "", fmt.Errorf("%w: user %q has no such credential", kerr.ResourceNotFound, name)
	}
	return key, nil
}

func upsertion(name string, u kmsg.AlterUserSCRAMCredentialsRequestUpsertion) (key string, c sasl.Credential, err error) {
	mechanism, ok := scramMechanisms[u.Mechanism]
	switch {
	case !ok:
		return "", c, unknownMechanism(u.Mechanism)
	case u.Iterations < sasl.MinIterations || u.Iterations > sasl.MaxIterations:
		return "", c, fmt.Errorf("%w: %d iterations; %d to %d are", kerr.UnacceptableCredential, u.Iterations, sasl.MinIterations, sasl.MaxIterations)
	case len(u.SaltedPassword) == 0:
		return "", c, fmt.Errorf("%w: the password is empty", kerr.UnknownServerError) // which Kafka's cryptography refuses
	}
	return credentialKey(mechanism, name), sasl.FromSalted(mechanism, u.SaltedPassword, u.Salt, int(u.Iterations)), nil
}

func unknownMechanism(number int8) error {
	return fmt.Errorf("%w: mechanism %d", kerr.UnsupportedSaslMechanism, number)
}

// storeUsers writes all changes at once.
func (b *Broker) storeUsers(e *userEdit) error {
	if len(e.set)+len(e.drop) == 0 {
		return nil
	}
	batch := b.meta.NewBatch()
	for key := range e.drop {
		batch.DeleteSetting(meta.Credentials, key)
	}
	for key, c := range e.set {
		value, err := json.Marshal(c)
		if err != nil {
			return err
		}
		batch.PutSetting(meta.Credentials, key, value)
	}
	if b.commitNew(batch) != nil {
		return kerr.KafkaStorageError
	}
	s := &b.security
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range e.drop {
		delete(s.users, key)
	}
	for key, c := range e.set {
		s.users[key], s.most = c, max(s.most, c.Iterations)
	}
	return nil
}
