//go:build unix

package logbroker

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/acl"
)

// processorTime is how long the processors have worked for this process.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// TestManyEntriesCostLittle: a request with eight times as many entries takes about
// eight times as long, not sixty-four times.
func TestManyEntriesCostLittle(t *testing.T) {
	users := func(w *workbench, n int) kmsg.Request {
		req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
		for i := range n {
			d := kmsg.NewAlterUserSCRAMCredentialsRequestDeletion()
			d.Name, d.Mechanism = fmt.Sprintf("nobody%07d", i), 1
			req.Deletions = append(req.Deletions, d)
		}
		return req
	}
	described := func(w *workbench, n int) kmsg.Request {
		req := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
		for i := range n {
			u := kmsg.NewDescribeUserSCRAMCredentialsRequestUser()
			u.Name = fmt.Sprintf("nobody%07d", i)
			req.Users = append(req.Users, u)
		}
		return req
	}
	rules := func(w *workbench, n int) kmsg.Request {
		req := kmsg.NewPtrDeleteACLsRequest()
		req.Version = 3
		var all []acl.Rule
		for i := range n {
			r := acl.Rule{
				Type: kmsg.ACLResourceTypeTopic, Name: fmt.Sprintf("topic%07d", i), Pattern: kmsg.ACLResourcePatternTypeLiteral,
				Principal: "User:ann", Host: acl.Any, Operation: kmsg.ACLOperationRead, Permission: kmsg.ACLPermissionTypeAllow,
			}
			all = append(all, r)
			f := kmsg.NewDeleteACLsRequestFilter()
			f.ResourceType, f.ResourceName, f.ResourcePatternType, f.Principal, f.Host = r.Type, &r.Name, r.Pattern, &r.Principal, &r.Host
			f.Operation, f.PermissionType = r.Operation, r.Permission
			req.Filters = append(req.Filters, f)
		}
		w.security.rules.Store(acl.NewSet(all))
		return req
	}
	for name, request := range map[string]func(*workbench, int) kmsg.Request{
		"AlterUserScramCredentials": users, "DescribeUserScramCredentials": described, "DeleteAcls": rules,
	} {
		t.Run(name, func(t *testing.T) {
			w := newSecured(t)
			cost := func(n int) time.Duration {
				req := request(w, n)
				before := processorTime(t)
				ask[kmsg.Response](w, req)
				return processorTime(t) - before
			}
			few, many := time.Hour, time.Hour
			for range 5 { // the collection of garbage may come in between
				few, many = min(few, cost(5_000)), min(many, cost(40_000))
			}
			if many > 32*max(few, time.Millisecond) {
				t.Errorf("%v for 5000 entries, %v for 40000", few, many)
			}
		})
	}
}

// TestUsersOfOneRequest: several users are changed, whatever becomes of the others; one
// that is changed twice is not.
func TestUsersOfOneRequest(t *testing.T) {
	w := newSecured(t)
	upsert := func(name string, mechanism int8, iterations int32) kmsg.AlterUserSCRAMCredentialsRequestUpsertion {
		u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
		u.Name, u.Mechanism, u.Iterations, u.Salt, u.SaltedPassword = name, mechanism, iterations, []byte("salt"), []byte("password")
		return u
	}
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	req.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{
		upsert("dan", 1, 4096), upsert("ann", 2, 4096), upsert("bob", 2, 1), upsert("bob", 1, 4096), upsert("cid", 1, 4096), upsert("cid", 2, 4096),
	}
	resp := ask[*kmsg.AlterUserSCRAMCredentialsResponse](w, req)
	got := ""
	for _, r := range resp.Results {
		got += fmt.Sprintf("%s %d, ", r.User, r.ErrorCode)
	}
	if want := fmt.Sprintf("ann 0, bob %d, cid %d, dan 0, ", kerr.UnacceptableCredential.Code, kerr.DuplicateResource.Code); got != want {
		t.Errorf("answered with %s, want %s", got, want)
	}
	w.restart()
	for name, want := range map[string]int{"ann": 1, "bob": 0, "cid": 0, "dan": 1} {
		if n := len(w.describeUser(name)); n != want {
			t.Errorf("%s has %d credentials, want %d", name, n, want)
		}
	}
	// Where there is no room for another, those that are there can be changed.
	for i := len(w.security.users); i < maxUsers; i++ {
		w.security.users[credentialKey(scramMechanisms[1], fmt.Sprint("user ", i))] = w.security.users[credentialKey(scramMechanisms[2], "ann")]
	}
	req.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{upsert("ann", 2, 8192), upsert("eve", 1, 4096)}
	resp = ask[*kmsg.AlterUserSCRAMCredentialsResponse](w, req)
	w.want(resp.Results[0].ErrorCode, nil)
	w.want(resp.Results[1].ErrorCode, kerr.PolicyViolation)
}
