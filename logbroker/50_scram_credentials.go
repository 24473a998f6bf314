package logbroker

import (
	"encoding/json"
	"fmt"
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
	for i, name := range names {
		rr := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
		rr.User = name
		switch {
		case slices.Contains(names[:i], name):
			continue
		case slices.Contains(names[i+1:], name):
			rr.ErrorCode, rr.ErrorMessage = alterError(fmt.Errorf("%w: user %q is named twice", kerr.DuplicateResource, name))
		default:
			rr.CredentialInfos = b.describeUser(name)
			if len(rr.CredentialInfos) == 0 {
				rr.ErrorCode, rr.ErrorMessage = alterError(fmt.Errorf("%w: there is no user %q", kerr.ResourceNotFound, name))
			}
		}
		resp.Results = append(resp.Results, rr)
	}
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
// (KIP-554), when the change is durable: for each user all or nothing.
func (b *Broker) handleAlterUserSCRAMCredentials(r *request) {
	req := r.msg.(*kmsg.AlterUserSCRAMCredentialsRequest)
	resp := req.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
	b.spawn(func() {
		b.security.edit.Lock()
		defer b.security.edit.Unlock()
		for _, name := range namesIn(req) {
			rr := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
			rr.User = name
			rr.ErrorCode, rr.ErrorMessage = alterError(b.alterUser(req, name))
			resp.Results = append(resp.Results, rr)
		}
		r.respond(resp)
	})
}

// namesIn lists the users that a request changes.
func namesIn(req *kmsg.AlterUserSCRAMCredentialsRequest) (names []string) {
	for _, d := range req.Deletions {
		names = append(names, d.Name)
	}
	for _, u := range req.Upsertions {
		names = append(names, u.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// alterUser makes all changes of one user. security.edit is held.
func (b *Broker) alterUser(req *kmsg.AlterUserSCRAMCredentialsRequest, name string) error {
	if name == "" {
		return fmt.Errorf("%w: the user has no name", kerr.UnacceptableCredential)
	}
	if b.security.isGiven(name) {
		return fmt.Errorf("%w: user %q is in the configuration, which goes first: change it in the file of --users, or Security.Users, and start the broker again", kerr.UnacceptableCredential, name)
	}
	set, drop := map[string]sasl.Credential{}, map[string]bool{}
	for _, d := range req.Deletions {
		if d.Name != name {
			continue
		}
		key, err := b.changedKey(name, d.Mechanism, set, drop)
		if err != nil {
			return err
		}
		if b.security.users[key].Iterations == 0 {
			return fmt.Errorf("%w: user %q has no such credential", kerr.ResourceNotFound, name)
		}
		drop[key] = true
	}
	for _, u := range req.Upsertions {
		if u.Name != name {
			continue
		}
		key, err := b.changedKey(name, u.Mechanism, set, drop)
		switch {
		case err != nil:
			return err
		case u.Iterations < sasl.MinIterations || u.Iterations > sasl.MaxIterations:
			return fmt.Errorf("%w: %d iterations; %d to %d are", kerr.UnacceptableCredential, u.Iterations, sasl.MinIterations, sasl.MaxIterations)
		case len(u.Salt) == 0 || len(u.SaltedPassword) == 0:
			return fmt.Errorf("%w: the salt or the password is empty", kerr.UnacceptableCredential)
		}
		set[key] = sasl.FromSalted(scramMechanisms[u.Mechanism], u.SaltedPassword, u.Salt, int(u.Iterations))
	}
	return b.storeUsers(set, drop)
}

// changedKey is the key of a credential, which may be changed once in a request.
func (b *Broker) changedKey(name string, mechanism int8, set map[string]sasl.Credential, drop map[string]bool) (string, error) {
	m, ok := scramMechanisms[mechanism]
	if !ok {
		return "", fmt.Errorf("%w: mechanism %d", kerr.UnsupportedSaslMechanism, mechanism)
	}
	key := credentialKey(m, name)
	if _, twice := set[key]; twice || drop[key] {
		return "", fmt.Errorf("%w: user %q is changed twice", kerr.DuplicateResource, name)
	}
	return key, nil
}

func (b *Broker) storeUsers(set map[string]sasl.Credential, drop map[string]bool) error {
	s := &b.security
	if len(s.users)+len(set) > maxUsers {
		return fmt.Errorf("%w: there are %d credentials, more cannot be", kerr.PolicyViolation, len(s.users))
	}
	batch := b.meta.NewBatch()
	for key := range drop {
		batch.DeleteSetting(meta.Credentials, key)
	}
	for key, c := range set {
		value, err := json.Marshal(c)
		if err != nil {
			return err
		}
		batch.PutSetting(meta.Credentials, key, value)
	}
	if b.commitNew(batch) != nil {
		return kerr.KafkaStorageError
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range drop {
		delete(s.users, key)
	}
	for key, c := range set {
		s.users[key] = c
	}
	return nil
}
