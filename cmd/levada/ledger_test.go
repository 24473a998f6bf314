package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// fate is what is known of a value.
type fate int8

const (
	unknown   fate = iota // the answer never came: it may be there or not
	committed             // acknowledged: must be there, once
	aborted               // its transaction was not ended with a commit: must not be seen
)

// ledger keeps what was written and what of it was acknowledged.
type ledger struct {
	mu     sync.Mutex // guards what follows
	cut    bool       // the power is going: what is acknowledged now counts for nothing
	fates  map[string]fate
	places map[string]string // where an acknowledged value lies
	txns   [][]string        // the values of each transaction
	stop   error             // why a writer stopped last
}

func newLedger() *ledger { return &ledger{fates: map[string]fate{}, places: map[string]string{}} }

func placeOf(r *kgo.Record) string {
	return fmt.Sprintf("partition %d offset %d", r.Partition, r.Offset)
}

// acknowledge notes a record that was acknowledged outside any transaction.
func (l *ledger) acknowledge(r *kgo.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return
	}
	l.fates[string(r.Value)] = committed
	l.places[string(r.Value)] = placeOf(r)
}

func (l *ledger) set(values []string, f fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range values {
		l.fates[v] = f
	}
}

// commit notes that a transaction was committed.
func (l *ledger) commit(values []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range values {
		if !l.cut {
			l.fates[v] = committed
		}
	}
}

func (l *ledger) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

func (l *ledger) stopped(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop = err
}

// newWriter makes a client that gives up when the context ends. Only closing it
// does that: it goes on trying otherwise, for the order of what it has.
func newWriter(ctx context.Context, address string, opts ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))...)
	if err == nil {
		context.AfterFunc(ctx, client.Close)
	}
	return client, err
}

// writeAlone writes records one after another until the context ends. It tells
// first when one was acknowledged.
func (l *ledger) writeAlone(ctx context.Context, address, name string, partition int32, first chan<- struct{}) {
	client, err := newWriter(ctx, address)
	if err != nil {
		l.stopped(err)
		return
	}
	for n := 0; ctx.Err() == nil; n++ {
		value := fmt.Sprint(name, "-", n)
		l.set([]string{value}, unknown)
		r, err := client.ProduceSync(ctx, &kgo.Record{Topic: outageTopic, Partition: partition, Value: []byte(value)}).First()
		if err != nil {
			l.stopped(err)
			return
		}
		l.acknowledge(r)
		if n == 0 {
			first <- struct{}{}
		}
	}
}

// writeTxns writes transactions until one fails. It tells first when one was
// committed.
func (l *ledger) writeTxns(ctx context.Context, address string, i, cycle int, rng *rand.Rand, first chan<- struct{}) txnProducer {
	p := txnProducer{id: fmt.Sprint("id-", i)}
	client, err := newWriter(ctx, address, kgo.TransactionalID(p.id))
	if err != nil {
		l.stopped(err)
		return p
	}
	for n := 0; ; n++ {
		if err := client.BeginTransaction(); err != nil {
			l.stopped(err)
			return p
		}
		records := make([]*kgo.Record, 1+rng.IntN(5))
		values := make([]string, len(records))
		for j := range records {
			values[j] = fmt.Sprintf("t%d-%d-%d-%d", cycle, i, n, j)
			records[j] = &kgo.Record{Topic: outageTopic, Partition: int32(rng.IntN(outagePartitions)), Value: []byte(values[j])}
		}
		l.mu.Lock()
		l.txns = append(l.txns, values)
		l.mu.Unlock()
		l.set(values, aborted)
		err := client.ProduceSync(ctx, records...).FirstErr()
		if pid, epoch, pidErr := client.ProducerID(ctx); pidErr == nil {
			p.pid, p.epoch = pid, epoch
		}
		if err != nil {
			l.stopped(err)
			return p
		}
		commit := rng.IntN(4) > 0 || n == 0
		if commit {
			l.set(values, unknown)
		}
		if err := client.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
			l.stopped(err)
			return p
		}
		if commit {
			l.commit(values)
		}
		if n == 0 {
			first <- struct{}{}
		}
	}
}

// compare tells what of the books is not so.
func (l *ledger) compare(records map[int32][]*kgo.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var wrong []error
	seen := map[string]bool{}
	for _, list := range records {
		for _, r := range list {
			v := string(r.Value)
			place, acknowledged := l.places[v]
			switch {
			case seen[v]:
				wrong = append(wrong, fmt.Errorf("%s is there twice", v))
			case acknowledged && place != placeOf(r):
				wrong = append(wrong, fmt.Errorf("%s was acknowledged at %s and lies at %s", v, place, placeOf(r)))
			case l.fates[v] == aborted:
				wrong = append(wrong, fmt.Errorf("%s was not committed and is seen", v))
			}
			seen[v] = true
			l.places[v] = placeOf(r) // from now on it stays there
		}
	}
	for v, f := range l.fates {
		if f == committed && !seen[v] {
			wrong = append(wrong, fmt.Errorf("%s was acknowledged and is lost", v))
		}
	}
	for _, values := range l.txns {
		for _, v := range values {
			if seen[v] != seen[values[0]] {
				wrong = append(wrong, fmt.Errorf("of the transaction of %s only a part is seen", v))
				break
			}
		}
	}
	l.settle(seen)
	const most = 5
	return errors.Join(wrong[:min(len(wrong), most)]...)
}

// settle: what was seen stays, what was not never comes. mu is held.
func (l *ledger) settle(seen map[string]bool) {
	for v, f := range l.fates {
		switch {
		case f == unknown && seen[v]:
			l.fates[v] = committed
		case f == unknown:
			l.fates[v] = aborted
		}
	}
}
