package logbroker

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/levada/levada/logbroker/meta"
	"github.com/levada/levada/logbroker/txn"
)

func id2meta(p txn.Partition) meta.Partition { return meta.Partition{Topic: p.Topic, Index: p.Index} }

// rowOf is the durable form of a state that is not in a Prepare phase.
func rowOf(id string, s txn.State) meta.Txn {
	row := meta.Txn{
		ID:         id,
		ProducerID: s.Producer.ID, Epoch: s.Producer.Epoch,
		LastProducerID: s.Last.ID, LastEpoch: s.Last.Epoch,
		State:     meta.TxnState(s.Phase),
		TimeoutMs: int32(s.Timeout.Milliseconds()),
		UpdatedMs: s.Updated.UnixMilli(),
		Groups:    slices.Sorted(maps.Keys(s.Groups)),
	}
	if !s.Started.IsZero() {
		row.StartedMs = s.Started.UnixMilli()
	}
	for p := range s.Partitions {
		row.Partitions = append(row.Partitions, id2meta(p))
	}
	slices.SortFunc(row.Partitions, func(a, b meta.Partition) int {
		return cmp.Or(bytes.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Index, b.Index))
	})
	return row
}

// stateOf reads a row back.
func stateOf(row meta.Txn) txn.State {
	s := txn.New()
	s.Producer = txn.Producer{ID: row.ProducerID, Epoch: row.Epoch}
	s.Last = txn.Producer{ID: row.LastProducerID, Epoch: row.LastEpoch}
	s.Phase = txn.Phase(row.State)
	s.Timeout = time.Duration(row.TimeoutMs) * time.Millisecond
	s.Updated = time.UnixMilli(row.UpdatedMs)
	if row.StartedMs != 0 {
		s.Started = time.UnixMilli(row.StartedMs)
	}
	for _, p := range row.Partitions {
		if s.Partitions == nil {
			s.Partitions = map[txn.Partition]struct{}{}
		}
		s.Partitions[txn.Partition{Topic: p.Topic, Index: p.Index}] = struct{}{}
	}
	for _, g := range row.Groups {
		if s.Groups == nil {
			s.Groups = map[string]struct{}{}
		}
		s.Groups[g] = struct{}{}
	}
	return s
}
