package group

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
)

// consumerType is the type of a row that is a consumer group's; classic groups
// have none.
const consumerType = "consumer"

// consumerRow is the form in which a consumer group is kept.
type consumerRow struct {
	Version     int                 `json:"version"`
	Type        string              `json:"type"`
	Epoch       int32               `json:"epoch"`
	TargetEpoch int32               `json:"target_epoch"`
	Assignor    string              `json:"assignor,omitempty"`
	EmptiedMs   int64               `json:"emptied_ms,omitempty"`
	Members     []consumerMemberRow `json:"members,omitempty"`
}

type consumerMemberRow struct {
	ID          string      `json:"id"`
	InstanceID  Instance    `json:"instance_id,omitzero"`
	RackID      string      `json:"rack_id,omitempty"`
	ClientID    string      `json:"client_id,omitempty"`
	Host        string      `json:"host,omitempty"`
	Principal   string      `json:"principal,omitempty"`
	RebalanceMs int64       `json:"rebalance_ms"`
	Topics      []string    `json:"topics,omitempty"`
	Regex       string      `json:"regex,omitempty"`
	Resolved    []string    `json:"resolved,omitempty"`
	Matched     []string    `json:"matched,omitempty"` // by Regex
	Assignor    string      `json:"assignor,omitempty"`
	Epoch       int32       `json:"epoch"`
	Previous    int32       `json:"previous_epoch"`
	State       memberState `json:"state"`
	Assigned    []topicRow  `json:"assigned,omitempty"`
	Revoking    []topicRow  `json:"revoking,omitempty"`
	Target      []topicRow  `json:"target,omitempty"`
	Classic     *classicRow `json:"classic,omitempty"`
}

type classicRow struct {
	SessionMs int64      `json:"session_ms"`
	Protocols []Protocol `json:"protocols"`
}

type topicRow struct {
	Topic      string  `json:"topic"` // its id, in Kafka's text form
	Partitions []int32 `json:"partitions"`
	Since      []int32 `json:"since,omitempty"` // the epoch of each; older programs wrote none
}

// rowsOf are the rows of a set; since, if it is not nil, has an epoch for each.
func rowsOf(set Partitions, since map[Partition]int32) []topicRow {
	var out []topicRow
	for _, p := range set {
		id := base64.RawURLEncoding.EncodeToString(p.Topic[:])
		if n := len(out); n == 0 || out[n-1].Topic != id {
			out = append(out, topicRow{Topic: id})
		}
		last := &out[len(out)-1]
		last.Partitions = append(last.Partitions, p.Index)
		if since != nil {
			last.Since = append(last.Since, since[p])
		}
	}
	return out
}

// setOf is the set of rows; the epochs that they have are added to since.
func setOf(rows []topicRow, since map[Partition]int32) (Partitions, error) {
	var list []Partition
	for _, r := range rows {
		var id TopicID
		if n, err := base64.RawURLEncoding.Decode(id[:], []byte(r.Topic)); err != nil || n != len(id) {
			return nil, fmt.Errorf("topic id %q: %d bytes, %w", r.Topic, n, err)
		}
		if len(r.Since) > 0 && len(r.Since) != len(r.Partitions) {
			return nil, fmt.Errorf("topic id %q: %d epochs of %d partitions", r.Topic, len(r.Since), len(r.Partitions))
		}
		for i, n := range r.Partitions {
			list = append(list, Partition{id, n})
			if len(r.Since) > 0 {
				since[Partition{id, n}] = r.Since[i]
			}
		}
	}
	return NewPartitions(list), nil
}

// Encode is the group as it is kept.
func (g *Consumer) Encode() ([]byte, error) {
	r := consumerRow{Version: rowVersion, Type: consumerType, Epoch: g.Epoch, TargetEpoch: g.TargetEpoch, Assignor: g.Assignor, EmptiedMs: emptiedMs(g.Emptied)}
	for _, m := range g.Members {
		mr := consumerMemberRow{
			ID: m.ID, InstanceID: m.InstanceID, RackID: m.RackID, ClientID: m.ClientID, Host: m.Host, Principal: m.Principal, RebalanceMs: m.Rebalance.Milliseconds(),
			Topics: m.Topics, Regex: m.Regex, Resolved: m.resolved, Matched: m.matches.names, Assignor: m.Assignor, Epoch: m.Epoch, Previous: m.Previous, State: m.State,
			Assigned: rowsOf(m.Assigned, m.since), Revoking: rowsOf(m.Revoking, m.since), Target: rowsOf(m.Target, nil),
		}
		if m.Classic != nil {
			mr.Classic = &classicRow{SessionMs: m.Classic.Session.Milliseconds(), Protocols: m.Classic.Protocols}
		}
		r.Members = append(r.Members, mr)
	}
	return json.Marshal(r)
}

// IsConsumer tells whether a row is a consumer group's.
func IsConsumer(b []byte) bool {
	var r struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(b, &r) == nil && r.Type == consumerType
}

// DecodeConsumer reads a consumer group after a restart. Its members live on:
// each has a whole session to be heard of again.
func DecodeConsumer(id string, b []byte, cfg Config, now time.Time, times func() Times) (*Consumer, error) {
	var r consumerRow
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("group %q: %w", id, err)
	}
	if r.Version != rowVersion || r.Type != consumerType {
		return nil, fmt.Errorf("group %q: row of version %d and type %q, this program knows %d of %q", id, r.Version, r.Type, rowVersion, consumerType)
	}
	g := NewConsumer(id, cfg, times)
	g.Epoch, g.TargetEpoch, g.Assignor, g.Emptied = r.Epoch, r.TargetEpoch, r.Assignor, emptiedAt(r.EmptiedMs)
	for _, mr := range r.Members {
		since := map[Partition]int32{}
		assigned, err1 := setOf(mr.Assigned, since)
		revoking, err2 := setOf(mr.Revoking, since)
		target, err3 := setOf(mr.Target, map[Partition]int32{})
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("group %q: member %q: %w", id, mr.ID, err)
		}
		m := &ConsumerMember{
			ID: mr.ID, InstanceID: mr.InstanceID, RackID: mr.RackID, ClientID: mr.ClientID, Host: mr.Host, Principal: mr.Principal,
			Rebalance: time.Duration(mr.RebalanceMs) * time.Millisecond, Topics: mr.Topics, Regex: mr.Regex, resolved: mr.Resolved,
			Assignor: mr.Assignor, Epoch: mr.Epoch, Previous: mr.Previous, State: mr.State, Target: target, seen: now,
		}
		if m.resolved == nil {
			m.resolved = []string{}
		}
		if m.Regex != "" {
			m.matches = matches{m.looksFor(), mr.Matched}
		}
		if mr.Classic != nil && len(mr.Classic.Protocols) == 0 {
			return nil, errNoProtocol(id, mr.ID)
		}
		if mr.Classic != nil {
			m.Classic = &ClassicMember{Session: time.Duration(mr.Classic.SessionMs) * time.Millisecond, Protocols: mr.Classic.Protocols}
		}
		if m.State == unrevoked {
			m.revokeBy = now.Add(m.Rebalance)
		}
		g.Members = append(g.Members, m)
		g.hold(m, assigned, revoking)
		maps.Copy(m.since, since)
	}
	return g, nil
}
