package logbroker

import "slices"

// maxSavedAtOnce is about how many bytes of groups are written in one batch.
const maxSavedAtOnce = 32 << 20

// groupSaves writes the groups that changed. One goroutine does it for all: what
// changes while it waits for the disk is written together, each group once in its
// newest form, however often it changed.
type groupSaves struct {
	workQueue[groupSave]
	unsaved map[string]int // how many of a group's saves are not on disk; under the queue's lock
}

// groupSave is a group that is to be written, or to have been, before anybody is
// answered.
type groupSave struct {
	group   string
	answers []func()
}

// release answers when all is on disk that the answers tell of: a group that
// changed, now or just before, is written first.
func (g *groups) release(id string, changed bool, answers []func()) {
	q := &g.saves
	q.Lock()
	if !changed && q.unsaved[id] == 0 {
		q.Unlock()
		for _, fn := range answers {
			fn()
		}
		return
	}
	start := q.add(groupSave{id, answers})
	q.unsaved[id]++
	q.Unlock()
	if start {
		g.b.spawn(g.saveLoop)
	}
}

func (g *groups) saveLoop() {
	q := &g.saves
	for work := q.take(); len(work) > 0; work = q.take() {
		if err := g.save(work); err != nil {
			g.b.log.Error("groups cannot be stored", "groups", len(work), "error", err)
			continue // the broker has failed: nobody is told what is not durable
		}
		q.Lock()
		for _, s := range work {
			if q.unsaved[s.group]--; q.unsaved[s.group] == 0 {
				delete(q.unsaved, s.group)
			}
		}
		q.Unlock()
		for _, s := range work {
			for _, fn := range s.answers {
				fn()
			}
		}
	}
}

// save writes the newest form of groups.
func (g *groups) save(work []groupSave) error {
	ids := make([]string, 0, len(work))
	for _, s := range work {
		ids = append(ids, s.group)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	g.persist.Lock()
	defer g.persist.Unlock()
	for len(ids) > 0 {
		batch := g.b.meta.NewBatch()
		size := 0
		for size < maxSavedAtOnce && len(ids) > 0 {
			value, err := g.encode(ids[0])
			if err != nil {
				return err
			}
			if value != nil {
				batch.PutGroup(ids[0], value)
			}
			size += len(value)
			ids = ids[1:]
		}
		if err := g.b.commit(batch); err != nil {
			return err
		}
	}
	return nil
}

// encode is the newest form of a group, nil if there is none.
func (g *groups) encode(id string) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.byID[id]
	if e == nil {
		return nil, nil
	}
	return e.encode()
}
