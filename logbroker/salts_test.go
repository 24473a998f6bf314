package logbroker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/sasl"
)

// TestSaltsStay: a restart shows clients no other salts, neither those of the users of
// the configuration, whatever their passwords, nor those of users that do not exist.
func TestSaltsStay(t *testing.T) {
	w := newWorkbench(t)
	salt := func(mechanism, user string) string {
		t.Helper()
		x, err := w.security.sasl.Start(mechanism)
		if err != nil {
			t.Fatal(err)
		}
		first, _, err := x.Next([]byte("n,,n=" + user + ",r=abcdefgh"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(first), ",")[1]
	}
	for i, users := range []map[string]Password{{"ann": "secret"}, {"ann": "secret", "bob": "secret"}, {"ann": "another", "bob": "secret"}} {
		before := map[string]string{}
		seen := map[string]bool{}
		for again := range 2 {
			if again == 1 {
				w.losePower(fmt.Sprint("boot-", i))
			}
			w.Kill()
			w.cfg.Security.Users = users
			w.open()
			for _, user := range []string{"ann", "bob", "nobody"} {
				for _, mechanism := range scramMechanisms {
					key, got := mechanism+" "+user, salt(mechanism, user)
					if again == 0 {
						before[key] = got
						if seen[got] {
							t.Errorf("%s: the salt is another's", key)
						}
						seen[got] = true
					} else if got != before[key] {
						t.Errorf("%s: %q before the restart, %q after it", key, before[key], got)
					}
				}
			}
		}
	}
}

// TestMostIterationsAreKnown: what a wrong password costs follows the credential that
// costs most, at once and after a restart.
func TestMostIterationsAreKnown(t *testing.T) {
	w := newWorkbench(t)
	set := func(user string, iterations int32) {
		t.Helper()
		req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
		u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
		u.Name, u.Mechanism, u.Iterations, u.Salt, u.SaltedPassword = user, 2, iterations, []byte("salt"), []byte("password")
		req.Upsertions = append(req.Upsertions, u)
		w.want(ask[*kmsg.AlterUserSCRAMCredentialsResponse](w, req).Results[0].ErrorCode, nil)
	}
	is := func(want int) {
		t.Helper()
		if got := w.security.sasl.MostIterations(); got != want {
			t.Errorf("%d iterations, want %d", got, want)
		}
	}
	set("ann", sasl.MaxIterations-1)
	is(sasl.MaxIterations - 1)
	set("bob", sasl.MinIterations)
	is(sasl.MaxIterations - 1)
	w.restart()
	is(sasl.MaxIterations - 1)
}
