package brokerload

import (
	"context"
	"fmt"
)

// Client is what drives a broker.
type Client string

const (
	// Encoded sends batches whose records were encoded before the run, and checks those
	// that it reads by their checksum, without decoding them: it leaves most of the
	// machine to the broker.
	Encoded Client = "encoded"
	// Franz is franz-go's client, as an application uses it. For small records it takes
	// more of the machine than the broker.
	Franz Client = "franz-go"
)

// Clients are all there are.
var Clients = []Client{Encoded, Franz}

const (
	clientID = "levada-bench"
	// requestBytes bounds what Encoded sends at once, over all partitions: about what
	// franz-go sends when it has to wait.
	requestBytes = 4 << 20
	// inFlight is how many requests may wait for their answer, as is usual.
	inFlight = 5
	// fetchBytes bounds an answer to a fetch, partitionBytes what is in it of a
	// partition: the defaults of Java's consumer.
	fetchBytes, partitionBytes = 50 << 20, 1 << 20
	fetchWaitMillis            = 500
)

// Produce writes the records to the topic as fast as they are taken, with acks=all,
// and returns when the last is acknowledged.
func Produce(ctx context.Context, l Load) (Result, error) {
	l, err := l.withDefaults()
	if err != nil {
		return Result{}, err
	}
	r, err := map[Client]func(context.Context, Load) (Result, error){Encoded: produceEncoded, Franz: produceFranz}[l.Client](ctx, l)
	if err != nil {
		return r, fmt.Errorf("produce %s: %w", l.describe(), err)
	}
	return r, nil
}

// Consume reads the records of the topic, which hold what Produce wrote, and
// counts them.
func Consume(ctx context.Context, l Load) (Result, error) {
	l, err := l.withDefaults()
	if err != nil {
		return Result{}, err
	}
	r, err := map[Client]func(context.Context, Load) (Result, error){Encoded: consumeEncoded, Franz: consumeFranz}[l.Client](ctx, l)
	if err != nil {
		return r, fmt.Errorf("consume %s: %w", l.describe(), err)
	}
	return r, nil
}
