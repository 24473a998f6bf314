package sasl

import (
	"crypto/hmac"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// scramExchange is a SCRAM exchange (RFC 5802) without channel binding: the client proves
// that it knows the password, and the server that it knows the credential.
type scramExchange struct {
	server    *Server
	mechanism string
	step      int

	user       string
	known      bool
	credential Credential
	header     string // of the first message: the GS2 header
	nonce      string // the client's and the server's
	own        string // the client's alone
	messages   string // the first two, as they are signed
}

// Next implements Exchange.
func (x *scramExchange) Next(message []byte) ([]byte, bool, error) {
	if err := checkSize(message); err != nil {
		return nil, false, err
	}
	if !utf8.Valid(message) {
		return nil, false, fmt.Errorf("%w: a message is not UTF-8", ErrRefused)
	}
	x.step++
	switch x.step {
	case 1:
		answer, err := x.first(string(message))
		return answer, false, err
	case 2:
		return x.final(string(message))
	}
	return nil, false, fmt.Errorf("%w: the exchange is over", ErrRefused)
}

// Refused implements Exchange: all that is refused is said by Next.
func (x *scramExchange) Refused() error { return nil }

// User implements Exchange.
func (x *scramExchange) User() (string, time.Time) { return x.user, time.Time{} }

// first reads the client's first message and answers with salt and iterations.
func (x *scramExchange) first(message string) ([]byte, error) {
	// gs2-cbind-flag "," [authzid] "," bare
	parts := strings.SplitN(message, ",", 3)
	if len(parts) != 3 || parts[0] != "n" && parts[0] != "y" {
		return nil, fmt.Errorf("%w: channel binding is not supported", ErrRefused)
	}
	x.header = parts[0] + "," + parts[1] + ","
	bare := parts[2]
	fields := strings.Split(bare, ",")
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "n=") || !strings.HasPrefix(fields[1], "r=") {
		return nil, fmt.Errorf("%w: the first message lacks a name or a nonce", ErrRefused)
	}
	for _, extension := range fields[2:] {
		if extension == "tokenauth=true" {
			return nil, fmt.Errorf("%w: there are no delegation tokens", ErrRefused)
		}
	}
	var ok bool
	if x.user, ok = unescape(fields[0][2:]); !ok || x.user == "" {
		return nil, fmt.Errorf("%w: the name is not escaped as it must be", ErrRefused)
	}
	if as := strings.TrimPrefix(parts[1], "a="); as != "" {
		if as, ok = unescape(as); !ok || as != x.user {
			return nil, errOther
		}
	}
	client := fields[1][2:]
	if client == "" {
		return nil, fmt.Errorf("%w: the nonce is empty", ErrRefused)
	}
	own, err := x.server.Nonce()
	if err != nil {
		return nil, fmt.Errorf("nonce: %w", err)
	}
	x.nonce, x.own = client+own, client
	x.credential, x.known = x.server.credential(x.mechanism, x.user)
	answer := fmt.Sprintf("r=%s,s=%s,i=%d", x.nonce, base64.StdEncoding.EncodeToString(x.credential.Salt), x.credential.Iterations)
	x.messages = bare + "," + answer
	return []byte(answer), nil
}

// unescape reads a name, in which = and , are written =3D and =2C.
func unescape(s string) (string, bool) {
	out := strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s)
	return out, strings.Count(s, "=") == strings.Count(s, "=2C")+strings.Count(s, "=3D")
}

// final checks the client's proof, and answers with the server's.
func (x *scramExchange) final(message string) ([]byte, bool, error) {
	at := strings.LastIndex(message, ",p=")
	if at < 0 {
		return nil, false, fmt.Errorf("%w: the last message has no proof", ErrRefused)
	}
	without, proofText := message[:at], message[at+len(",p="):]
	fields := strings.Split(without, ",")
	// librdkafka before 2.6.1 writes its own part twice. What the server has chosen
	// is in both forms, and signed.
	fresh := len(fields) >= 2 && (fields[1] == "r="+x.nonce || fields[1] == "r="+x.own+x.nonce)
	if !fresh || fields[0] != "c="+base64.StdEncoding.EncodeToString([]byte(x.header)) {
		return nil, false, fmt.Errorf("%w: the last message is not of this exchange", ErrRefused)
	}
	proof, err := base64.StdEncoding.DecodeString(proofText)
	h := hashOf(x.mechanism)
	if err != nil || len(proof) != h().Size() {
		return nil, false, fmt.Errorf("%w: the proof cannot be read", ErrRefused)
	}
	signed := x.messages + "," + without
	signature := sum(h, x.credential.StoredKey, signed)
	key := make([]byte, len(proof))
	subtle.XORBytes(key, proof, signature)
	stored := h()
	stored.Write(key)
	if !hmac.Equal(stored.Sum(nil), x.credential.StoredKey) || !x.known {
		return nil, false, errCredentials
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(sum(h, x.credential.ServerKey, signed))), true, nil
}
