package logbroker

import (
	"fmt"
	"strconv"
	"sync"
)

// producerIDBlock is how many ids are set aside by one durable write.
const producerIDBlock = 1000

// producerIDs gives out producer ids, none twice: a block is durably set aside
// before its first id is given out, and a restart begins a new block.
type producerIDs struct {
	b    *Broker
	mu   sync.Mutex // guards next and end
	next int64
	end  int64
}

func (p *producerIDs) open(b *Broker) error {
	p.b = b
	v, err := b.meta.System(sysNextPID)
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt("0"+string(v), 10, 64)
	if err != nil {
		return fmt.Errorf("next producer id: %w", err)
	}
	p.next, p.end = n, n
	return nil
}

func (p *producerIDs) take() (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == p.end {
		end := p.end + producerIDBlock
		batch := p.b.meta.NewBatch()
		batch.PutSystem(sysNextPID, []byte(strconv.FormatInt(end, 10)))
		if err := p.b.commit(batch); err != nil {
			return -1, err
		}
		p.end = end
	}
	id := p.next
	p.next++
	return id, nil
}
