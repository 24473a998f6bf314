package brokerload

import (
	"context"
	"errors"
	"time"
)

func paceEncoded(ctx context.Context, l Load, rate float64) ([]time.Duration, Result, error) {
	lanes, closeAll, err := l.lanes(ctx)
	if err != nil {
		return nil, Result{}, err
	}
	defer closeAll()
	writers, err := l.writers(ctx, lanes)
	if err != nil {
		return nil, Result{}, err
	}
	var paced []*pacer
	for _, w := range writers {
		paced = append(paced, &pacer{writer: w, rate: rate * float64(w.records) / float64(l.Records), took: make([]time.Duration, 0, w.records)})
	}
	// One record to every partition, so that each is ready.
	if err := together(ctx, lanes, closeAll, func(n *lane) error { return writers[n].warm() }); err != nil {
		return nil, Result{}, err
	}
	m, err := newMeter(l.PID)
	if err != nil {
		return nil, Result{}, err
	}
	began := time.Now()
	if err := together(ctx, paced, closeAll, func(p *pacer) error { return p.run(began) }); err != nil {
		return nil, Result{}, err
	}
	var all []time.Duration
	batches := int64(0)
	for _, p := range paced {
		all = append(all, p.took...)
		batches += p.batches
	}
	result, err := m.result(l, batches)
	return all, result, err
}

func (w *writer) warm() error {
	if err := w.write(int64(len(w.partitions))); err != nil {
		return err
	}
	w.batches = 0
	return w.acknowledged()
}

// pacer sends records when they are due.
type pacer struct {
	*writer
	rate float64
	took []time.Duration
}

// flight is a request on its way, with the records from one on.
type flight struct{ from, n int64 }

func (p *pacer) run(began time.Time) error {
	flights, slots := make(chan flight, inFlight), make(chan struct{}, inFlight)
	answered := make(chan error, 1)
	go func() { answered <- p.answers(flights, slots, began) }()
	err := p.sends(flights, slots, began)
	close(flights)
	return errors.Join(<-answered, err)
}

// sends sends what is due, as soon as there is a slot for a request.
func (p *pacer) sends(flights chan<- flight, slots chan<- struct{}, began time.Time) error {
	for sent := int64(0); sent < p.records; {
		if early := time.Until(began.Add(due(sent, p.rate))); early > 0 {
			rest(early) // the pace of the schedule
			continue
		}
		slots <- struct{}{}
		n := min(p.records, int64(time.Since(began).Seconds()*p.rate)+1) - sent
		f := flight{from: sent, n: max(1, min(n, p.most))}
		flights <- f
		if err := p.write(f.n); err != nil {
			return err
		}
		sent += f.n
	}
	return nil
}

// answers takes the time of each answer. After a failure it closes the connection and
// only frees slots.
func (p *pacer) answers(flights <-chan flight, slots <-chan struct{}, began time.Time) (err error) {
	for f := range flights {
		if err == nil {
			if err = p.acknowledged(); err != nil {
				p.close()
			}
		}
		now := time.Since(began)
		<-slots
		for i := range f.n {
			p.took = append(p.took, now-due(f.from+i, p.rate))
		}
	}
	return err
}
