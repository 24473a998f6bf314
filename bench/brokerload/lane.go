package brokerload

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// latestVersion of the requests to write and to read: from the next on topics have ids.
const latestVersion = 12

// lane is a connection of Encoded to a broker, with the partitions that it leads.
type lane struct {
	*link
	load       Load
	partitions []int32
	ends       []int64 // offset after the last record of each
	records    int64   // of the load that are theirs
}

// lanes are those to each leader of the topic's partitions; closeAll ends them.
func (l Load) lanes(ctx context.Context) (all []*lane, closeAll func(), err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Brokers...), kgo.ClientID(clientID))
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	meta, err := admin.Metadata(ctx, l.Topic)
	if err != nil {
		return nil, nil, err
	}
	ends, err := admin.ListEndOffsets(ctx, l.Topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return nil, nil, err
	}
	topic := meta.Topics[l.Topic]
	if topic.Err != nil {
		return nil, nil, topic.Err
	}
	if len(topic.Partitions) != int(l.Partitions) {
		return nil, nil, fmt.Errorf("topic %s has %d partitions, not %d", l.Topic, len(topic.Partitions), l.Partitions)
	}
	of := map[int32]*lane{}
	for p := range l.Partitions {
		leader := topic.Partitions[p].Leader
		if of[leader] == nil {
			of[leader] = &lane{load: l}
			all = append(all, of[leader])
		}
		n := of[leader]
		n.partitions, n.ends = append(n.partitions, p), append(n.ends, ends[l.Topic][p].Offset)
		n.records += l.Records / int64(l.Partitions)
		if int64(p) < l.Records%int64(l.Partitions) {
			n.records++
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	for _, b := range meta.Brokers {
		if n := of[b.NodeID]; n != nil {
			if n.link, err = dial(ctx, net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))); err != nil {
				cancel()
				return nil, nil, err
			}
			delete(of, b.NodeID)
		}
	}
	if len(of) > 0 {
		cancel()
		return nil, nil, fmt.Errorf("topic %s has partitions without a leader", l.Topic)
	}
	return all, cancel, nil
}

// together runs a function for each lane, and ends all with the first that fails.
func together[T any](ctx context.Context, lanes []T, closeAll func(), run func(T) error) error {
	errs := make([]error, len(lanes))
	var wg sync.WaitGroup
	for i, n := range lanes {
		wg.Go(func() {
			if errs[i] = run(n); errs[i] != nil {
				closeAll()
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}
