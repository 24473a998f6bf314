package group

import (
	"encoding/json"
	"fmt"
	"time"
)

// row is the form in which a group is kept, JSON: groups change seldom, and a
// person can read it.
type row struct {
	Version      int         `json:"version"`
	State        State       `json:"state"`
	ProtocolType string      `json:"protocol_type,omitempty"`
	Protocol     string      `json:"protocol,omitempty"`
	Generation   int32       `json:"generation"`
	Leader       string      `json:"leader,omitempty"`
	EmptiedMs    int64       `json:"emptied_ms,omitempty"`
	Members      []memberRow `json:"members,omitempty"`
}

type memberRow struct {
	ID          string     `json:"id"`
	InstanceID  Instance   `json:"instance_id,omitzero"`
	ClientID    string     `json:"client_id,omitempty"`
	Host        string     `json:"host,omitempty"`
	SessionMs   int64      `json:"session_ms"`
	RebalanceMs int64      `json:"rebalance_ms"`
	Protocols   []Protocol `json:"protocols"`
	Assignment  []byte     `json:"assignment,omitempty"`
	Had         []byte     `json:"had,omitempty"`
}

const rowVersion = 1

// Encode is the group as it is kept: what waits is not.
func (g *Group) Encode() ([]byte, error) {
	r := row{Version: rowVersion, State: g.State, ProtocolType: g.ProtocolType, Protocol: g.Protocol, Generation: g.Generation, Leader: g.Leader, EmptiedMs: emptiedMs(g.Emptied)}
	for _, m := range g.Members {
		r.Members = append(r.Members, memberRow{
			ID: m.ID, InstanceID: m.InstanceID, ClientID: m.ClientID, Host: m.Host, SessionMs: m.Session.Milliseconds(),
			RebalanceMs: m.Rebalance.Milliseconds(), Protocols: m.Protocols, Assignment: m.Assignment, Had: m.Had,
		})
	}
	return json.Marshal(r)
}

// emptiedMs is a time as it is kept, 0 for none.
func emptiedMs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func emptiedAt(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Decode reads a group after a restart. Its members live on: each has a whole
// session to be heard of again. A rebalance that was under way begins anew.
func Decode(id string, b []byte, cfg Config, now time.Time) (*Group, error) {
	var r row
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("group %q: %w", id, err)
	}
	if r.Version != rowVersion {
		return nil, fmt.Errorf("group %q: row of version %d, this program knows %d", id, r.Version, rowVersion)
	}
	g := New(id, cfg)
	g.State, g.ProtocolType, g.Protocol, g.Generation, g.Leader = r.State, r.ProtocolType, r.Protocol, r.Generation, r.Leader
	g.Emptied = emptiedAt(r.EmptiedMs)
	for _, m := range r.Members {
		if len(m.Protocols) == 0 {
			return nil, errNoProtocol(id, m.ID)
		}
		g.Members = append(g.Members, &Member{
			ID: m.ID, InstanceID: m.InstanceID, ClientID: m.ClientID, Host: m.Host, Session: time.Duration(m.SessionMs) * time.Millisecond,
			Rebalance: time.Duration(m.RebalanceMs) * time.Millisecond, Protocols: m.Protocols, Assignment: m.Assignment, Had: m.Had, seen: now,
		})
	}
	switch {
	case len(g.Members) == 0:
		g.State = Empty
	case g.State != Stable:
		g.State = PreparingRebalance
		for _, m := range g.Members {
			g.deadline = now.Add(max(g.deadline.Sub(now), m.Rebalance))
		}
	}
	return g, nil
}

// errNoProtocol refuses a row: no member of the classic protocol is without.
func errNoProtocol(id, member string) error {
	return fmt.Errorf("group %q: member %q has no protocol", id, member)
}
