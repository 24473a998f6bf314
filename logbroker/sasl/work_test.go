package sasl

import (
	"errors"
	"fmt"
	"hash"
	"testing"
)

// countedHash counts the sums that are made: each iteration takes two.
type countedHash struct {
	hash.Hash
	sums *int
}

func (h countedHash) Sum(b []byte) []byte { *h.sums++; return h.Hash.Sum(b) }

// countSums counts the sums of each mechanism until the test ends.
func countSums(t *testing.T) map[string]*int {
	sums := map[string]*int{}
	for mechanism, h := range hashes {
		n := new(int)
		sums[mechanism] = n
		hashes[mechanism] = func() hash.Hash { return countedHash{h(), n} }
		t.Cleanup(func() { hashes[mechanism] = h })
	}
	return sums
}

// TestTimeBetraysNobody: a wrong password takes the same work whether the user does not
// exist, has one mechanism or both, and with however many iterations; and so does the
// beginning of an exchange of SCRAM.
func TestTimeBetraysNobody(t *testing.T) {
	users := map[string]Credential{}
	for name, iterations := range map[string]int{"few": MinIterations, "default": DefaultIterations, "many": MaxIterations} {
		for _, mechanism := range []string{SCRAM256, SCRAM512} {
			c, err := FromPassword(mechanism, []byte("secret"), Salt(mechanism, []byte("s"), name, DefaultSaltBytes), iterations)
			if err != nil {
				t.Fatal(err)
			}
			users[mechanism+name+" of both"] = c
			users[mechanism+name+" of "+mechanism] = c
		}
	}
	names := []string{"nobody"}
	for name := range map[string]int{"few": 0, "default": 0, "many": 0} {
		names = append(names, name+" of both", name+" of "+SCRAM256, name+" of "+SCRAM512)
	}
	s := &Server{
		Secret: []byte("the server's"), Nonce: func() (string, error) { return "nonce", nil }, MostIterations: func() int { return MaxIterations },
		Credentials: func(mechanism, user string) (Credential, bool) { c, ok := users[mechanism+user]; return c, ok },
	}
	sums := countSums(t)
	for _, test := range []struct{ mechanism, message string }{
		{Plain, "\x00%s\x00wrong"}, {SCRAM256, "n,,n=%s,r=abc"}, {SCRAM512, "n,,n=%s,r=abc"},
	} {
		wanted := map[string]int{}
		for _, name := range names {
			for mechanism := range sums {
				*sums[mechanism] = 0
			}
			x, err := s.Start(test.mechanism)
			if err != nil {
				t.Fatal(err)
			}
			if _, done, err := x.Next(fmt.Appendf(nil, test.message, name)); done || (test.mechanism == Plain) != errors.Is(err, ErrRefused) {
				t.Fatalf("%s of %s: done %t, %v", test.mechanism, name, done, err)
			}
			for mechanism, n := range sums {
				if name == "nobody" {
					wanted[mechanism] = *n
				} else if *n != wanted[mechanism] {
					t.Errorf("%s: %s takes %d sums of %s, and nobody %d", test.mechanism, name, *n, mechanism, wanted[mechanism])
				}
				if test.mechanism == Plain && *n < 2*MaxIterations {
					t.Errorf("%s takes %d sums of %s: the work is not counted", name, *n, mechanism)
				}
			}
		}
	}
}

// TestTheFirstMechanismDecides: who has two passwords logs in by the first mechanism's,
// and who has one mechanism by that one's, whatever the other is made up of.
func TestTheFirstMechanismDecides(t *testing.T) {
	users := map[string]Credential{}
	for key, password := range map[string]string{
		SCRAM256 + "two": "first", SCRAM512 + "two": "second", SCRAM512 + "one": "second",
	} {
		c, err := FromPassword(key[:len(SCRAM256)], []byte(password), []byte("some salt"), MinIterations)
		if err != nil {
			t.Fatal(err)
		}
		users[key] = c
	}
	s := &Server{Secret: []byte("the server's"), Credentials: func(mechanism, user string) (Credential, bool) { c, ok := users[mechanism+user]; return c, ok }}
	for _, test := range []struct {
		user, password string
		ok             bool
	}{
		{"two", "first", true}, {"two", "second", false}, {"one", "second", true}, {"one", "first", false}, {"nobody", "first", false},
	} {
		x, err := s.Start(Plain)
		if err != nil {
			t.Fatal(err)
		}
		if _, done, err := x.Next([]byte("\x00" + test.user + "\x00" + test.password)); done != test.ok || !test.ok && !errors.Is(err, ErrRefused) {
			t.Errorf("%s with %s: %t, %v", test.user, test.password, done, err)
		}
	}
}
