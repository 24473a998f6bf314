package proto

// What both sides must agree on before the first call.
const (
	// Version is the plugin protocol's version in the handshake. A host refuses
	// a plugin of another one and names both.
	Version = 1
	// CookieKey and CookieValue tell a plugin that a host started it. They are
	// no secret; the connection is secured by mutual TLS made for each process.
	CookieKey   = "LEVADA_PLUGIN"
	CookieValue = "7c1e0f6b-levada-connector"
	// PluginName is the one plugin that a process dispenses.
	PluginName = "connector"
	// MaxMessageBytes bounds every message in both directions.
	MaxMessageBytes = 32 << 20
)
