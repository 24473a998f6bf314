package logbroker

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/meta"
	"github.com/levada/levada/logbroker/quota"
)

// Types of the parts of a quota's entity.
const (
	quotaUser   = "user"
	quotaClient = "client-id"
	quotaIP     = "ip"
)

// maxQuotas bounds the entities that have limits.
const maxQuotas = 10_000

// handleDescribeClientQuotas answers DescribeClientQuotas, versions 0 and 1
// (KIP-546). The entries of what was found are never null, which Java's admin client
// cannot read.
func (b *Broker) handleDescribeClientQuotas(r *request) {
	req := r.msg.(*kmsg.DescribeClientQuotasRequest)
	resp := req.ResponseKind().(*kmsg.DescribeClientQuotasResponse)
	if err := checkQuotaFilter(req); err != nil {
		resp.ErrorCode, resp.ErrorMessage = alterError(err)
		r.respond(resp)
		return
	}
	resp.ErrorMessage, resp.Entries = kmsg.StringPtr(""), []kmsg.DescribeClientQuotasResponseEntry{}
	limits := b.security.quotas.Limits()
	entities := slices.SortedFunc(maps.Keys(limits), func(x, y quota.Entity) int { return cmp.Compare(x.Key(), y.Key()) })
	for _, e := range entities {
		if !quotaMatches(req, e) {
			continue
		}
		re := kmsg.NewDescribeClientQuotasResponseEntry()
		for _, part := range quotaParts(&e) {
			if *part.name == "" {
				continue
			}
			rp := kmsg.NewDescribeClientQuotasResponseEntryEntity()
			rp.Type = part.kind
			if text, named := part.name.Text(); named {
				rp.Name = &text
			}
			re.Entity = append(re.Entity, rp)
		}
		for _, key := range slices.Sorted(maps.Keys(limits[e])) {
			v := kmsg.NewDescribeClientQuotasResponseEntryValue()
			v.Key, v.Value = key, limits[e][key]
			re.Values = append(re.Values, v)
		}
		resp.Entries = append(resp.Entries, re)
	}
	r.respond(resp)
}

// checkQuotaFilter refuses a question that no entity can be an answer to.
func checkQuotaFilter(req *kmsg.DescribeClientQuotasRequest) error {
	seen := map[string]bool{}
	for _, c := range req.Components {
		exact := c.MatchType == kmsg.QuotasMatchTypeExact
		switch {
		case c.EntityType == "" || seen[c.EntityType]:
			return fmt.Errorf("%w: entity type %q is empty, or named twice", kerr.InvalidRequest, c.EntityType)
		case c.EntityType != quotaUser && c.EntityType != quotaClient && c.EntityType != quotaIP:
			return fmt.Errorf("%w: there is no entity type %q", kerr.UnsupportedVersion, c.EntityType)
		case c.MatchType < 0 || c.MatchType > kmsg.QuotasMatchTypeAny:
			return fmt.Errorf("%w: there is no match type %d", kerr.InvalidRequest, c.MatchType)
		case exact == (c.Match == nil):
			return fmt.Errorf("%w: a name goes with the exact match type, and with no other", kerr.InvalidRequest)
		}
		seen[c.EntityType] = true
	}
	if seen[quotaIP] && len(seen) > 1 {
		return fmt.Errorf("%w: a limit is either an address's or a client's", kerr.InvalidRequest)
	}
	return nil
}

type quotaPart struct {
	kind string
	name *quota.Name
}

// quotaParts are the parts of an entity by their type.
func quotaParts(e *quota.Entity) []quotaPart {
	return []quotaPart{{quotaUser, &e.User}, {quotaClient, &e.Client}, {quotaIP, &e.IP}}
}

// quotaName is the name of a part of an entity.
func quotaName(kind, text string) quota.Name {
	if kind == quotaIP {
		return quota.Address(text)
	}
	return quota.Named(text)
}

// quotaMatches tells whether a request asks for an entity: each part that it names
// must fit, and if it is strict there must be no other.
func quotaMatches(req *kmsg.DescribeClientQuotasRequest, e quota.Entity) bool {
	for _, part := range quotaParts(&e) {
		i := slices.IndexFunc(req.Components, func(c kmsg.DescribeClientQuotasRequestComponent) bool { return c.EntityType == part.kind })
		if i < 0 {
			if req.Strict && *part.name != "" {
				return false
			}
			continue
		}
		c := req.Components[i]
		fits := *part.name != ""
		switch c.MatchType {
		case kmsg.QuotasMatchTypeExact:
			fits = *part.name == quotaName(part.kind, deref(c.Match))
		case kmsg.QuotasMatchTypeDefault:
			fits = *part.name == quota.Default
		}
		if !fits {
			return false
		}
	}
	return true
}

// handleAlterClientQuotas answers AlterClientQuotas, versions 0 and 1 (KIP-546),
// when the change is durable: for each entity all or nothing. An entity that is named
// twice is not changed, and told once.
func (b *Broker) handleAlterClientQuotas(r *request) {
	req := r.msg.(*kmsg.AlterClientQuotasRequest)
	resp := req.ResponseKind().(*kmsg.AlterClientQuotasResponse)
	b.editSecurity(r, resp, func() {
		answers := map[quota.Entity]int{}
		for _, e := range req.Entries {
			e.Entity = lastParts(e.Entity)
			who, err := quotaEntity(e)
			if i, again := answers[who]; again && err == nil {
				resp.Entries[i] = quotaAnswer(e, fmt.Errorf("%w: the client is named twice; only the first was done", kerr.InvalidRequest))
				continue
			}
			if err == nil {
				answers[who] = len(resp.Entries)
				err = b.alterQuota(who, e.Ops, req.ValidateOnly)
			}
			resp.Entries = append(resp.Entries, quotaAnswer(e, err))
		}
	})
}

func quotaAnswer(e kmsg.AlterClientQuotasRequestEntry, err error) kmsg.AlterClientQuotasResponseEntry {
	out := kmsg.NewAlterClientQuotasResponseEntry()
	out.ErrorCode, out.ErrorMessage = alterError(err)
	for _, part := range e.Entity {
		rp := kmsg.NewAlterClientQuotasResponseEntryEntity()
		rp.Type, rp.Name = part.Type, part.Name
		out.Entity = append(out.Entity, rp)
	}
	return out
}

// lastParts has of each type the last: Kafka keeps the parts of an entity by their type.
func lastParts(parts []kmsg.AlterClientQuotasRequestEntryEntity) (out []kmsg.AlterClientQuotasRequestEntryEntity) {
	at := map[string]int{}
	for _, p := range parts {
		if i, ok := at[p.Type]; ok {
			out[i] = p
			continue
		}
		at[p.Type] = len(out)
		out = append(out, p)
	}
	return out
}

// quotaEntity is whose limits an entry changes.
func quotaEntity(entry kmsg.AlterClientQuotasRequestEntry) (e quota.Entity, err error) {
	for _, part := range entry.Entity {
		i := slices.IndexFunc(quotaParts(&e), func(p quotaPart) bool { return p.kind == part.Type })
		if i < 0 {
			return e, fmt.Errorf("%w: entity type %q is unknown", kerr.InvalidRequest, part.Type)
		}
		name := quotaParts(&e)[i].name
		if *name = quota.Default; part.Name != nil {
			*name = quotaName(part.Type, *part.Name)
		}
	}
	return e, nil
}

// alterQuota changes the limits of one entity. security.edit is held.
func (b *Broker) alterQuota(e quota.Entity, ops []kmsg.AlterClientQuotasRequestEntryOp, validateOnly bool) error {
	if err := namedTwice(ops, func(op kmsg.AlterClientQuotasRequestEntryOp) string { return op.Key }); err != nil {
		return err
	}
	limits := map[string]float64{}
	maps.Copy(limits, b.security.quotas.Limits()[e])
	for _, op := range ops {
		key, value := op.Key, op.Value
		if op.Remove { // of what is not there nothing goes; the entity is checked all the same
			if key, value = quota.ProducerBytes, 1; e.IP != "" {
				key = quota.Connections
			}
		}
		if err := quota.Check(e, key, value); err != nil {
			return fmt.Errorf("%w: %w", kerr.InvalidRequest, err)
		}
		if delete(limits, op.Key); !op.Remove {
			limits[op.Key] = op.Value
		}
	}
	if all := b.security.quotas.Limits(); len(all) >= maxQuotas && all[e] == nil {
		return fmt.Errorf("%w: %d clients have limits, more cannot", kerr.PolicyViolation, len(all))
	}
	if validateOnly {
		return nil
	}
	batch := b.meta.NewBatch()
	if len(limits) == 0 {
		batch.DeleteSetting(meta.Quotas, e.Key())
	} else {
		value, err := json.Marshal(limits)
		if err != nil {
			return err
		}
		batch.PutSetting(meta.Quotas, e.Key(), value)
	}
	if b.commitNew(batch) != nil {
		return kerr.KafkaStorageError
	}
	b.security.quotas.Set(e, limits)
	return nil
}
