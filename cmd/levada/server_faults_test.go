package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestBadValueOfEveryServerFlag: nonsense in any flag of the server is wrong input,
// said with the flag, what is wrong, and what to write instead.
func TestBadValueOfEveryServerFlag(t *testing.T) {
	dir := t.TempDir()
	bad := map[string][]struct {
		value string
		want  string // beside the name of the flag
		with  []string
	}{
		"advertise":                {{"x", `"x": write HOST:PORT`, nil}, {":5", `":5": write HOST:PORT`, nil}, {"x:99999", `"99999" is no port: use a number`, nil}},
		"authorize":                {{"maybe", `"maybe": use true or false`, nil}},
		"auto-create-topics":       {{"maybe", `"maybe": use true or false`, nil}},
		"cache-mib":                {{"x", `"x": use a whole number`, nil}, {"0", "use at least 1", nil}, {"99999999999999999999", "use a whole number that is not as large", nil}},
		"cpuprofile":               {{"/none/x", `"/none/x": no such file`, nil}},
		"data":                     {{"", "is missing: name a directory", nil}},
		"default-partitions":       {{"x", `"x": use a whole number`, nil}, {"0", "0: use at least 1", nil}, {"-5", "-5: use at least 1", nil}},
		"fsync":                    {{"x", `"x": use always, interval or os`, nil}},
		"initial-rebalance-delay":  {{"x", `"x": use a number with a unit`, nil}, {"-5s", "-5s: use 0 or more", nil}},
		"listen":                   {{"x", `"x": write [SCHEME://]HOST:PORT`, nil}, {":a", `"a" is no port: use a number`, nil}, {"127.0.0.1:99999", `"99999" is no port: use a number`, nil}, {"127.0.0.1:0=x", `"x": write HOST:PORT`, nil}},
		"max-connections":          {{"x", `"x": use a whole number`, nil}, {"0", "use at least 1", nil}},
		"max-connections-per-host": {{"x", `"x": use a whole number`, nil}, {"-1", "use at least 1", nil}},
		"oauth-keys":               {{"/none", "needs --oauth-issuer and --oauth-audience", nil}, {"/none", `"/none": no such file`, []string{"--oauth-issuer=i", "--oauth-audience=a"}}, {"http://foo", "use https", []string{"--oauth-issuer=i", "--oauth-audience=a"}}},
		"oauth-issuer":             {{"x", "need --oauth-keys", nil}},
		"oauth-audience":           {{"x", "need --oauth-keys", nil}},
		"oauth-user-claim":         {{"", "is empty: name the claim", nil}},
		"plain-unencrypted":        {{"maybe", `"maybe": use true or false`, nil}},
		"principal-rules":          {{"X", `"X": write RULE:`, nil}, {"RULE:(/x/", `"(" is none: missing closing )`, nil}},
		"reauthenticate":           {{"x", `"x": use a number with a unit`, nil}, {"5", `"5": use a number with a unit`, nil}, {"-5s", "-5s: use 0 or more", nil}},
		"sasl":                     {{"FOO", `"FOO": use one or more of PLAIN,`, nil}, {`"`, "use names with commas", nil}},
		"super-user":               {{"BAD", `"BAD": write TYPE:NAME`, nil}, {"User:", `"User:": write TYPE:NAME`, nil}},
		"tls-cert":                 {{"/none", `"/none": no such file`, nil}, {dir, "is a directory", nil}},
		"tls-client-ca":            {{"/none", `"/none": no such file`, nil}},
		"tls-client-required":      {{"maybe", `"maybe": use true or false`, nil}, {"true", "needs --tls-client-ca", nil}},
		"tls-key":                  {{"/none", `"/none": no such file`, nil}},
		"users":                    {{"/none", `"/none": no such file`, nil}, {dir, "is a directory", nil}},
	}
	command, _, err := newRoot().Find([]string{"server"})
	if err != nil {
		t.Fatal(err)
	}
	command.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if len(bad[f.Name]) == 0 && f.Name != "help" {
			t.Errorf("--%s is not tried", f.Name)
		}
	})
	for flag, values := range bad {
		for _, v := range values {
			args := []string{"server", "--data", filepath.Join(dir, "data")}
			if flag != "listen" {
				args = append(args, "--listen", "127.0.0.1:0")
			}
			args = append(append(args, v.with...), "--"+flag+"="+v.value)
			out := levada(t, "", args...)
			if out.code != exitInput || !strings.Contains(out.stderr, "--"+flag) || !strings.Contains(out.stderr, v.want) {
				t.Errorf("--%s=%s: exit %d, want %q\n%s", flag, v.value, out.code, v.want, out.stderr)
			}
			for _, raw := range []string{"strconv", "logbroker:", "time:", "parse error", `\A`} {
				if strings.Contains(out.stderr, raw) {
					t.Errorf("--%s=%s: %q of a library in\n%s", flag, v.value, raw, out.stderr)
				}
			}
		}
	}
}
