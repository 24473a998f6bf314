package logbroker

import "sync/atomic"

// Conn identifies a client to Handle: a TCP connection, or a caller in this
// process. Its requests are to be handed over one after another.
type Conn struct {
	// ClientID and Host are what the client calls itself and where it is;
	// groups show them.
	ClientID string
	Host     string

	closed atomic.Bool
	onFail func(error)
}

// NewConn makes the Conn of a caller in this process.
func NewConn(clientID, host string) *Conn { return &Conn{ClientID: clientID, Host: host} }

// fail closes a TCP connection whose client does not keep to the protocol.
func (c *Conn) fail(err error) {
	if c.closed.CompareAndSwap(false, true) && c.onFail != nil {
		c.onFail(err)
	}
}
