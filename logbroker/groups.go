package logbroker

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
	"github.com/levada/levada/logbroker/meta"
)

// What clients can make: how many groups, how much of one, whose row is written as a
// whole, and how much of all together.
const (
	maxGroups      = 100_000
	maxGroupBytes  = 16 << 20
	maxGroupsBytes = 256 << 20
)

// groupHandlers are the rows of the request table for groups.
func groupHandlers() []handler {
	return []handler{
		{kmsg.OffsetCommit, 2, 10, (*Broker).handleOffsetCommit},
		{kmsg.OffsetFetch, 1, 10, (*Broker).handleOffsetFetch},
		{kmsg.JoinGroup, 0, 9, (*Broker).handleJoinGroup},
		{kmsg.Heartbeat, 0, 4, (*Broker).handleHeartbeat},
		{kmsg.LeaveGroup, 0, 5, (*Broker).handleLeaveGroup},
		{kmsg.SyncGroup, 0, 5, (*Broker).handleSyncGroup},
		{kmsg.DescribeGroups, 0, 6, (*Broker).handleDescribeGroups},
		{kmsg.ListGroups, 0, 5, (*Broker).handleListGroups},
		{kmsg.DeleteGroups, 0, 3, (*Broker).handleDeleteGroups},
		{kmsg.OffsetDelete, 0, 0, (*Broker).handleOffsetDelete},
		{kmsg.ConsumerGroupHeartbeat, 0, 1, (*Broker).handleConsumerGroupHeartbeat},
		{kmsg.ConsumerGroupDescribe, 0, 1, (*Broker).handleConsumerGroupDescribe},
	}
}

// groups runs the group state machines: it keeps the requests that wait,
// persists what changes before anybody is told, and commits offsets.
type groups struct {
	b *Broker

	mu      sync.Mutex // guards what follows
	byID    map[string]*groupEntry
	waiting map[group.RequestID]func(group.Answer)
	lastID  group.RequestID
	due     dueGroups
	bytes   int // what all groups take, about

	persist sync.Mutex // rows are written by one at a time, the newest last
	saves   groupSaves

	commits workQueue[offsetCommit] // in order of arrival
}

// offsetCommit is a request whose offsets wait for the disk.
type offsetCommit struct {
	group   string
	offsets []topicOffset
	done    func(error)
}

// topicOffset is an offset to be written, with the topic that its name was when the
// request came.
type topicOffset struct {
	topic *topic
	meta.Offset
}

var _ groupCoordinator = (*groups)(nil)

func openGroups(b *Broker) (groupCoordinator, error) {
	g := &groups{b: b, byID: map[string]*groupEntry{}, waiting: map[group.RequestID]func(group.Answer){}}
	g.saves.unsaved = map[string]int{}
	err := b.meta.Groups(func(id string, value []byte) error {
		e := &groupEntry{id: id}
		var err error
		if group.IsConsumer(value) {
			e.consumer, err = group.DecodeConsumer(id, value, b.groupConfig(), b.now(), b.groupTimes(id))
		} else {
			e.classic, err = group.Decode(id, value, b.groupConfig(), b.now())
		}
		if err != nil {
			return err
		}
		g.byID[id] = e
		g.schedule(e)
		g.measure(e)
		return nil
	})
	if err != nil {
		return g, err
	}
	ids, err := b.meta.OffsetGroups()
	for _, id := range append(ids, b.meta.PendingGroups()...) {
		g.add(id)
	}
	return g, err
}

func (b *Broker) groupConfig() group.Config {
	return group.Config{InitialDelay: b.cfg.InitialRebalanceDelay}
}

// coordinator is the group coordinator as the handlers of groups know it.
func (b *Broker) coordinator() *groups { return b.groups.(*groups) }

// newMemberID is random, after what the client calls itself.
func (g *groups) newMemberID(prefix string) (string, error) {
	var raw [16]byte
	if _, err := io.ReadFull(g.b.cfg.Rand, raw[:]); err != nil {
		return "", fmt.Errorf("member id: %w", err)
	}
	return prefix + "-" + hex.EncodeToString(raw[:]), nil
}

// find returns a group, made if create is set; nil if there is none, or are too many. The
// caller holds mu.
func (g *groups) find(id string, create bool) *groupEntry {
	e := g.byID[id]
	if e == nil && create && len(g.byID) < maxGroups {
		e = g.add(id)
	}
	return e
}

// add makes a group if there is none of that id: it may have offsets, and be nothing else. The caller holds mu.
func (g *groups) add(id string) *groupEntry {
	e := g.byID[id]
	if e == nil {
		e = &groupEntry{id: id, classic: group.New(id, g.b.groupConfig())}
		g.byID[id] = e
		g.measure(e)
	}
	return e
}

// drop forgets a group. The caller holds mu.
func (g *groups) drop(e *groupEntry) {
	delete(g.byID, e.id)
	g.due.heap.move(e, time.Time{})
	g.bytes -= e.bytes
}

// measure counts what a group takes. The caller holds mu.
func (g *groups) measure(e *groupEntry) {
	n := e.size()
	g.bytes += n - e.bytes
	e.bytes = n
}

// room is what a group may take. The caller holds mu.
func (g *groups) room(e *groupEntry) int {
	return max(1, min(maxGroupBytes, maxGroupsBytes-(g.bytes-e.bytes)))
}

// do runs an event of a group and gives the answers out, after what changed is
// on disk. answer registers the request that the event carries; its answer may
// come with a later event.
func (g *groups) do(id string, create bool, answer func(group.Answer), event func(*groupEntry, group.RequestID) []group.Answer) bool {
	g.mu.Lock()
	known := len(g.byID)
	e := g.find(id, create)
	if e == nil {
		g.mu.Unlock()
		return false
	}
	e.fresh = len(g.byID) > known
	var request group.RequestID
	if answer != nil {
		g.lastID++
		request = g.lastID
		g.waiting[request] = answer
	}
	answers := event(e, request)
	g.b.settleGroup(id, e)
	release := g.take(answers)
	changed := e.changed()
	wake := false
	switch {
	case e.fresh && e.refused:
		g.drop(e)
	case changed || answer != nil && e.classic != nil || e.dueAt.IsZero(): // else a sign of life
		wake = g.schedule(e)
		g.measure(e)
	}
	g.mu.Unlock()
	if wake {
		g.b.wake()
	}
	g.release(id, changed, release)
	return true
}

// take finds who waits for the answers. The caller holds mu.
func (g *groups) take(answers []group.Answer) []func() {
	var out []func()
	for _, a := range answers {
		if fn := g.waiting[a.Request]; fn != nil {
			delete(g.waiting, a.Request)
			out = append(out, func() { fn(a) })
		}
	}
	return out
}

// checkTxnCommit implements groupCoordinator.
func (g *groups) checkTxnCommit(id string, generation int32, member string, instance *string, offsets []topicOffset, add func()) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, err := g.toCommitTo(id, generation)
	if err == nil {
		err = e.check(member, group.InstanceOf(instance), generation, true, offsets)
	}
	switch {
	case err == nil:
		add()
	case errors.Is(err, kerr.StaleMemberEpoch):
		return kerr.IllegalGeneration // which producers take for what it is; the other ends them
	}
	return err
}

// errNoGroup is what who says to be a member is told where there is no group.
var errNoGroup = fmt.Errorf("%w: there is no such group", kerr.IllegalGeneration)

// toCommitTo is the group that offsets are committed to. Who is no member makes it, whether
// its offsets are taken or not. The caller holds mu.
func (g *groups) toCommitTo(id string, generation int32) (*groupEntry, error) {
	switch e := g.find(id, generation < 0); {
	case e != nil:
		return e, nil
	case generation < 0:
		return nil, kerr.GroupMaxSizeReached
	}
	return nil, errNoGroup
}

// close implements groupCoordinator.
func (g *groups) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.waiting)
}

// commitOffsets stores offsets durably if check, which is given the group, allows it: all
// that wait in one write, in the order in which they came. Check and place in the queue
// are one step: what a later member commits or fetches does not come before.
func (g *groups) commitOffsets(c offsetCommit, generation int32, check func(*groupEntry) error) error {
	g.mu.Lock()
	e, err := g.toCommitTo(c.group, generation)
	if err == nil {
		err = check(e)
	}
	start := err == nil && len(c.offsets) > 0 && g.enqueue(c)
	g.mu.Unlock()
	if start {
		g.b.spawn(g.commitLoop)
	}
	return err
}

// enqueue tells whether the caller is to run commitLoop.
func (g *groups) enqueue(c offsetCommit) (start bool) {
	q := &g.commits
	q.Lock()
	defer q.Unlock()
	return q.add(c)
}

// afterCommits calls fn when the offsets that wait now are on disk. If they do, it runs
// beside the commits that come: it may read many offsets.
func (g *groups) afterCommits(fn func()) {
	q := &g.commits
	q.Lock()
	wait := q.running
	if wait {
		q.add(offsetCommit{done: func(error) { g.b.spawn(fn) }})
	}
	q.Unlock()
	if !wait {
		fn()
	}
}

func (g *groups) commitLoop() {
	for work := g.commits.take(); len(work) > 0; work = g.commits.take() {
		err := g.writeOffsets(work)
		for _, c := range work {
			c.done(err)
		}
	}
}

// writeOffsets writes the offsets of several requests at once. Those in a topic that
// was deleted meanwhile are gone with it.
func (g *groups) writeOffsets(work []offsetCommit) error {
	g.b.topics.offsets.RLock()
	defer g.b.topics.offsets.RUnlock()
	if !slices.ContainsFunc(work, func(c offsetCommit) bool { return len(c.offsets) > 0 }) {
		return nil // only fetches waited
	}
	g.mu.Lock()
	for _, c := range work {
		if len(c.offsets) > 0 {
			g.add(c.group) // it may have been deleted meanwhile
		}
	}
	g.mu.Unlock()
	batch := g.b.meta.NewBatch()
	for _, c := range work {
		for _, o := range c.offsets {
			if g.b.topics.has(o.topic) {
				batch.PutOffset(c.group, o.Offset)
			}
		}
	}
	return g.b.commitNew(batch)
}

// ids lists the groups, sorted.
func (g *groups) ids() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Sorted(maps.Keys(g.byID))
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// code is the error code of a *kerr.Error, 0 for nil.
func groupCode(err error) int16 {
	if err == nil {
		return 0
	}
	if ke := (*kerr.Error)(nil); errors.As(err, &ke) {
		return ke.Code
	}
	return kerr.UnknownServerError.Code
}

// noGroups stands in until the groups are read.
type noGroups struct{}

var _ groupCoordinator = noGroups{}

func (noGroups) tick(time.Time) time.Time { return time.Time{} }
func (noGroups) close()                   {}

func (noGroups) checkTxnCommit(_ string, _ int32, _ string, _ *string, _ []topicOffset, add func()) error {
	add()
	return nil
}
