// Command gopeers runs sarama and kafka-go against the broker at its first argument.
// It is a module of its own, so that Levada does not depend on them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for name, run := range map[string]func(context.Context, string) error{"sarama": withSarama, "kafka-go": withKafkaGo} {
		if err := run(ctx, os.Args[1]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
	}
	fmt.Println("ok")
}

// counter counts different values until there are enough.
type counter struct {
	want int
	seen map[string]bool
	done chan struct{}
}

func (c *counter) add(value string) {
	if c.seen[value] = true; len(c.seen) == c.want {
		close(c.done)
	}
}

func (*counter) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*counter) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (c *counter) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for m := range claim.Messages() {
		c.add(string(m.Value))
		s.MarkMessage(m, "")
	}
	return nil
}

func withSarama(ctx context.Context, addr string) error {
	cfg := sarama.NewConfig()
	cfg.Version = sarama.MaxVersion
	cfg.Producer.Idempotent, cfg.Producer.RequiredAcks, cfg.Producer.Return.Successes, cfg.Net.MaxOpenRequests = true, sarama.WaitForAll, true, 1
	cfg.Producer.Compression = sarama.CompressionZSTD
	cfg.Consumer.Offsets.Initial, cfg.Consumer.IsolationLevel = sarama.OffsetOldest, sarama.ReadCommitted
	admin, err := sarama.NewClusterAdmin([]string{addr}, cfg)
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := admin.CreateTopic("sarama", &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false); err != nil {
		return err
	}
	p, err := sarama.NewSyncProducer([]string{addr}, cfg)
	if err != nil {
		return err
	}
	var batch []*sarama.ProducerMessage
	for i := range 500 {
		batch = append(batch, &sarama.ProducerMessage{Topic: "sarama", Key: sarama.StringEncoder(fmt.Sprint("k", i)), Value: sarama.StringEncoder(fmt.Sprint("v", i))})
	}
	if err := errors.Join(p.SendMessages(batch), p.Close()); err != nil {
		return err
	}
	if err := saramaTransactions(addr, cfg); err != nil {
		return err
	}
	g, err := sarama.NewConsumerGroup([]string{addr}, "sarama-group", cfg)
	if err != nil {
		return err
	}
	c := &counter{want: 501, seen: map[string]bool{}, done: make(chan struct{})}
	sub, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- g.Consume(sub, []string{"sarama"}, c) }()
	select {
	case <-c.done:
	case err := <-ended:
		return fmt.Errorf("the group ended: %w", err)
	case <-ctx.Done():
		return fmt.Errorf("%d records", len(c.seen))
	}
	stop()
	if err := errors.Join(<-ended, g.Close()); err != nil {
		return err
	}
	if c.seen["aborted"] || !c.seen["committed"] {
		return errors.New("an aborted record was read, or a committed one not")
	}
	offsets, err := admin.ListConsumerGroupOffsets("sarama-group", map[string][]int32{"sarama": {0}})
	if err != nil {
		return err
	}
	if got := offsets.GetBlock("sarama", 0).Offset; got < 501 {
		return fmt.Errorf("committed offset %d", got)
	}
	return nil
}

func saramaTransactions(addr string, cfg *sarama.Config) error {
	txn := *cfg
	txn.Producer.Transaction.ID = "sarama-tx"
	p, err := sarama.NewSyncProducer([]string{addr}, &txn)
	if err != nil {
		return err
	}
	for _, value := range []string{"aborted", "committed"} {
		if err := p.BeginTxn(); err != nil {
			return err
		}
		if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "sarama", Value: sarama.StringEncoder(value)}); err != nil {
			return err
		}
		end := p.CommitTxn
		if value == "aborted" {
			end = p.AbortTxn
		}
		if err := end(); err != nil {
			return err
		}
	}
	return p.Close()
}

func withKafkaGo(ctx context.Context, addr string) error {
	client := &kafka.Client{Addr: kafka.TCP(addr), Timeout: 20 * time.Second}
	made, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: "kafka-go", NumPartitions: 2, ReplicationFactor: 1}}})
	if err != nil {
		return err
	}
	if err := made.Errors["kafka-go"]; err != nil {
		return err
	}
	w := &kafka.Writer{Addr: kafka.TCP(addr), Topic: "kafka-go", RequiredAcks: kafka.RequireAll, Compression: kafka.Snappy, BatchTimeout: 10 * time.Millisecond}
	var messages []kafka.Message
	for i := range 500 {
		messages = append(messages, kafka.Message{Key: fmt.Append(nil, i), Value: fmt.Append(nil, "v", i)})
	}
	if err := errors.Join(w.WriteMessages(ctx, messages...), w.Close()); err != nil {
		return err
	}
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{addr}, GroupID: "kafka-go-group", Topic: "kafka-go", MaxWait: 100 * time.Millisecond, StartOffset: kafka.FirstOffset})
	seen := map[string]bool{}
	for len(seen) < 500 {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return fmt.Errorf("after %d records: %w", len(seen), err)
		}
		seen[string(m.Value)] = true
	}
	if err := r.Close(); err != nil {
		return err
	}
	got, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: "kafka-go-group", Topics: map[string][]int{"kafka-go": {0, 1}}})
	if err != nil {
		return err
	}
	sum := int64(0)
	for _, p := range got.Topics["kafka-go"] {
		sum += p.CommittedOffset
	}
	if sum != 500 {
		return fmt.Errorf("committed %d of 500", sum)
	}
	return nil
}
