package txn

import (
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Event is one of Init, Add, End, Expire, Decided, PowerLoss.
type Event interface{ isEvent() }

// Init is InitProducerId: the caller takes the id over. What is open is aborted, and the
// caller has to ask again: Effects.Again.
type Init struct {
	// Holder is what the caller says it holds; NoProducer for a new instance.
	Holder  Producer
	Timeout time.Duration
	// Fresh is a producer id never used; needed if State.NeedsID says so.
	Fresh int64
}

// Add registers partitions and groups with the open transaction, and opens
// one if none is.
type Add struct {
	Producer   Producer
	Partitions []Partition
	Groups     []string
	// Implicit is set for the newer protocol (KIP-890): what is added can be
	// told again from the logs and the pending offsets, so nothing is
	// persisted. Without it the registration is durable before the answer.
	Implicit bool
}

// End is EndTxn.
type End struct {
	Producer Producer
	Commit   bool
	// Bump is set for the newer protocol: the answer carries a new epoch.
	Bump  bool
	Fresh int64
}

// Expire aborts an open transaction whose time is over.
type Expire struct{ Fresh int64 }

// Decided says that the decision is durable and its markers are appended.
type Decided struct{}

// PowerLoss ends whatever was undecided: the page cache that held the head of
// an open transaction is gone. It is fed to every id after such a start.
type PowerLoss struct{ Fresh int64 }

func (Init) isEvent()      {}
func (Add) isEvent()       {}
func (End) isEvent()       {}
func (Expire) isEvent()    {}
func (Decided) isEvent()   {}
func (PowerLoss) isEvent() {}

// Decision is how a transaction ends.
type Decision struct {
	Producer    Producer // whose batches it decides
	Commit      bool
	MarkerEpoch int16
	Partitions  []Partition
}

// Effects are what the caller has to carry out before it answers.
type Effects struct {
	Persist bool
	Decide  *Decision
	// Answer is the producer id and epoch to answer Init and End with.
	Answer Producer
	// Again says that the answer is CONCURRENT_TRANSACTIONS: the decision is not the
	// caller's, who asks again once it is carried out.
	Again bool
}

// Step applies one event. On an error the state is unchanged.
func Step(s State, ev Event, now time.Time) (State, Effects, error) {
	switch ev := ev.(type) {
	case Init:
		return s.init(ev, now)
	case Add:
		return s.add(ev, now)
	case End:
		return s.end(ev, now)
	case Expire:
		if at, ok := s.Deadline(); !ok || now.Before(at) {
			return s, Effects{}, nil
		}
		return s.decide(false, s.Producer.bumped(ev.Fresh), s.Producer, now)
	case Decided:
		done := s.Completed()
		return done, Effects{Answer: done.Producer}, nil
	case PowerLoss:
		return s.powerLoss(ev, now)
	}
	return s, Effects{}, kerr.UnknownServerError
}

func (s State) init(ev Init, now time.Time) (State, Effects, error) {
	last := NoProducer
	// Of an id that was forgotten, or never known, nobody is the holder: whoever says
	// so recovers from that (KIP-360) and is given a new producer.
	if ev.Holder != NoProducer && s.Producer.ID >= 0 {
		switch ev.Holder {
		case s.Producer:
			last = s.Producer
		case s.Last:
			if s.Phase != Ongoing && s.Phase != PrepareCommit && s.Phase != PrepareAbort {
				// The answer that carried this epoch was lost, or the broker
				// ended the transaction by itself: nobody else holds it.
				s.Phase, s.Timeout, s.Started, s.Updated = Empty, ev.Timeout, time.Time{}, now
				return s, Effects{Persist: true, Answer: s.Producer}, nil
			}
			return s, Effects{}, kerr.ProducerFenced
		default:
			return s, Effects{}, kerr.ProducerFenced
		}
	}
	switch s.Phase {
	case PrepareCommit, PrepareAbort:
		return s, Effects{}, kerr.ConcurrentTransactions
	case Ongoing:
		// The abort takes an epoch, so that its markers fence the old instance; who holds
		// the id can still have that one, until somebody asks again without a producer.
		next, eff, err := s.decide(false, s.Producer.bumped(ev.Fresh), s.Producer, now)
		eff.Again = true
		return next, eff, err
	}
	s.Producer, s.Last = s.Producer.bumped(ev.Fresh), last
	s.Phase, s.Timeout, s.Started, s.Updated = Empty, ev.Timeout, time.Time{}, now
	return s, Effects{Persist: true, Answer: s.Producer}, nil
}

func (s State) add(ev Add, now time.Time) (State, Effects, error) {
	if err := s.checkHolder(ev.Producer); err != nil {
		return s, Effects{}, err
	}
	if s.Phase == PrepareCommit || s.Phase == PrepareAbort {
		return s, Effects{}, kerr.ConcurrentTransactions
	}
	var eff Effects
	if s.Phase != Ongoing {
		s.Phase, s.Started, s.Updated = Ongoing, now, now
		s.Partitions, s.Groups = nil, nil
		eff.Persist = !ev.Implicit
	}
	for _, p := range ev.Partitions {
		if _, ok := s.Partitions[p]; !ok {
			s.Partitions = with(s.Partitions, p)
			eff.Persist = !ev.Implicit
		}
	}
	for _, g := range ev.Groups {
		if _, ok := s.Groups[g]; !ok {
			s.Groups = with(s.Groups, g)
			eff.Persist = !ev.Implicit
		}
	}
	return s, eff, nil
}

// with returns a copy of set with one member more, so that a state handed out
// before never changes.
func with[K comparable](set map[K]struct{}, k K) map[K]struct{} {
	out := maps.Clone(set)
	if out == nil {
		out = map[K]struct{}{}
	}
	out[k] = struct{}{}
	return out
}

func (s State) end(ev End, now time.Time) (State, Effects, error) {
	if ev.Bump && ev.Producer == s.Last && ev.Producer != s.Producer {
		return s.endAgain(ev)
	}
	if err := s.checkHolder(ev.Producer); err != nil {
		return s, Effects{}, err
	}
	switch s.Phase {
	case PrepareCommit, PrepareAbort:
		return s, Effects{}, kerr.ConcurrentTransactions
	case Ongoing:
		if ev.Bump {
			return s.decide(ev.Commit, s.Producer.bumped(ev.Fresh), s.Producer, now)
		}
		return s.decide(ev.Commit, s.Producer, s.Last, now)
	}
	if ev.Bump {
		if ev.Commit {
			return s, Effects{}, kerr.InvalidTxnState
		}
		// Nothing is open; the client may still have batches under way that
		// would open a transaction: the bump fences them.
		s.Producer, s.Last = s.Producer.bumped(ev.Fresh), s.Producer
		s.Phase, s.Started, s.Updated = CompleteAbort, now, now
		return s, Effects{Persist: true, Answer: s.Producer}, nil
	}
	if (s.Phase == CompleteCommit && ev.Commit) || (s.Phase == CompleteAbort && !ev.Commit) {
		return s, Effects{Answer: s.Producer}, nil
	}
	return s, Effects{}, kerr.InvalidTxnState
}

// endAgain answers an EndTxn of the newer protocol that comes under the epoch
// before the current one: a retry, or the end of a transaction that the broker
// has aborted by itself, which is no fault to abort.
func (s State) endAgain(ev End) (State, Effects, error) {
	switch {
	case s.Phase == PrepareCommit || s.Phase == PrepareAbort:
		return s, Effects{}, kerr.ConcurrentTransactions
	case s.Phase == CompleteCommit && ev.Commit, s.Phase == CompleteAbort && !ev.Commit:
		return s, Effects{Answer: s.Producer}, nil
	case s.Phase == CompleteCommit, s.Phase == CompleteAbort:
		return s, Effects{}, kerr.InvalidTxnState
	}
	return s, Effects{}, kerr.ProducerFenced
}

func (s State) checkHolder(p Producer) error {
	switch {
	case s.Producer.ID < 0 || (p.ID != s.Producer.ID && p.ID != s.Last.ID):
		return kerr.InvalidProducerIDMapping
	case p != s.Producer:
		return kerr.ProducerFenced
	}
	return nil
}

// decide starts the end of the open transaction. Where the epoch changes, the
// markers carry the epoch after the transaction's, so that the partitions
// refuse a batch of it that comes late.
func (s State) decide(commit bool, next, nextLast Producer, now time.Time) (State, Effects, error) {
	d := &Decision{Producer: s.Producer, Commit: commit, MarkerEpoch: s.Producer.Epoch}
	if next != s.Producer && d.MarkerEpoch < maxEpoch {
		d.MarkerEpoch++
	}
	for p := range s.Partitions {
		d.Partitions = append(d.Partitions, p)
	}
	sortPartitions(d.Partitions)
	s.Phase = PrepareAbort
	if commit {
		s.Phase = PrepareCommit
	}
	s.Next, s.NextLast, s.Updated = next, nextLast, now
	return s, Effects{Decide: d, Answer: next}, nil
}

func (s State) powerLoss(ev PowerLoss, now time.Time) (State, Effects, error) {
	old := s.Producer
	s.Producer, s.Last = s.Producer.bumped(ev.Fresh), old
	s.Next, s.NextLast = NoProducer, NoProducer
	s.Phase, s.Updated = CompleteAbort, now
	s.Partitions, s.Groups = nil, nil
	return s, Effects{Persist: true, Answer: s.Producer}, nil
}
