package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func (a *app) txnCommand() *cobra.Command {
	cl := &cluster{}
	c := &cobra.Command{Use: "txn", Short: "Transactions, and those that hang"}
	cl.addFlags(c)
	c.AddCommand(a.txnListCommand(cl), a.txnProducersCommand(cl), a.txnAbortCommand(cl))
	return c
}

func (a *app) txnListCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List transactional ids and where they stand", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			txns, err := admin.ListTransactions(c.Context(), nil, nil)
			if err != nil {
				return err
			}
			type row struct {
				ID         string `json:"transactional_id"`
				ProducerID int64  `json:"producer_id"`
				State      string `json:"state"`
			}
			rows := []row{}
			t := table{header: []string{"TRANSACTIONAL ID", "PRODUCER", "STATE"}, empty: "no transactions"}
			for _, x := range txns.Sorted() {
				rows = append(rows, row{x.TxnID, x.ProducerID, x.State})
				t.rows = append(t.rows, []string{x.TxnID, strconv.FormatInt(x.ProducerID, 10), x.State})
			}
			return a.print(c.OutOrStdout(), map[string]any{"transactions": rows}, t)
		},
	}
}

func (a *app) txnProducersCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "producers TOPIC", Short: "List who wrote to a topic, and whose transactions are open there", Args: cobra.ExactArgs(1), ValidArgsFunction: oneOf(cl.completeTopics),
		RunE: func(c *cobra.Command, args []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			found, off, err := describeProducers(c, admin, args[0])
			if err != nil {
				return err
			}
			type row struct {
				Partition  int32 `json:"partition"`
				ProducerID int64 `json:"producer_id"`
				Epoch      int16 `json:"epoch"`
				Sequence   int32 `json:"last_sequence"`
				OpenSince  int64 `json:"transaction_open_since"`
			}
			rows := []row{}
			t := table{header: []string{"PARTITION", "PRODUCER", "EPOCH", "LAST SEQUENCE", "OPEN SINCE"}, empty: "no producers"}
			for _, p := range found.SortedProducers() {
				r := row{p.Partition, p.ProducerID, p.ProducerEpoch, p.LastSequence, p.CurrentTxnStartOffset}
				rows = append(rows, r)
				open := "-"
				if r.OpenSince >= 0 {
					open = "offset " + strconv.FormatInt(r.OpenSince, 10)
				}
				t.rows = append(t.rows, []string{
					strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.ProducerID, 10), strconv.Itoa(int(r.Epoch)), strconv.Itoa(int(r.Sequence)), open,
				})
			}
			return errors.Join(a.print(c.OutOrStdout(), map[string]any{"producers": rows}, t), off.explained(args[0]))
		},
	}
}

// describeProducers asks for the producers of all partitions of a topic that are not offline.
func describeProducers(c *cobra.Command, admin *kadm.Client, topic string) (kadm.DescribedProducersTopics, offline, error) {
	topics, err := admin.ListTopics(c.Context(), topic)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		return nil, nil, onTopic(topic, "read").explained(err, "")
	}
	off := offlineOf(topics[topic])
	found, err := admin.DescribeProducers(c.Context(), topics.TopicsSet())
	return found, off, onTopic(topic, "read").explained(off.others(err), "")
}

func (a *app) txnAbortCommand(cl *cluster) *cobra.Command {
	var partition int32
	var producer int64
	c := &cobra.Command{
		Use: "abort TOPIC", Short: "Abort a transaction that hangs in a partition", Args: cobra.ExactArgs(1), ValidArgsFunction: oneOf(cl.completeTopics),
		Example: "  levada txn producers orders\n  levada txn abort orders --partition 0 --producer 4711",
		RunE: func(c *cobra.Command, args []string) error {
			if producer < 0 {
				return inputError(fmt.Errorf("whose transaction? Name it with --producer ID (see: %s txn producers %s)", program, args[0]))
			}
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			found, off, err := describeProducers(c, admin, args[0])
			if err == nil {
				err = off.of([]int32{partition}).explained(args[0])
			}
			if err != nil {
				return err
			}
			if _, ok := found[args[0]].Partitions[partition]; !ok {
				return inputError(fmt.Errorf("topic %q has no partition %d (see: %s topic describe %s)", args[0], partition, program, args[0]))
			}
			for _, p := range found.SortedProducers() {
				if p.Partition != partition || p.ProducerID != producer || p.CurrentTxnStartOffset < 0 {
					continue
				}
				done, err := admin.WriteTxnMarkers(c.Context(), kadm.TxnMarkers{
					ProducerID: producer, ProducerEpoch: p.ProducerEpoch, CoordinatorEpoch: p.CoordinatorEpoch, Topics: kadm.TopicsSet{args[0]: {partition: {}}},
				})
				if err != nil {
					return err
				}
				for _, r := range done.SortedPartitions() {
					if r.Err != nil {
						return onCluster("transaction", "cluster_action").explained(r.Err, "")
					}
				}
				return a.print(c.OutOrStdout(), map[string]any{"aborted": producer}, table{header: []string{"PRODUCER", "DONE"}, rows: [][]string{{strconv.FormatInt(producer, 10), "aborted"}}})
			}
			return inputError(fmt.Errorf("producer %d has no open transaction in %s-%d; see: %s txn producers %s", producer, args[0], partition, program, args[0]))
		},
	}
	c.Flags().Int32Var(&partition, "partition", 0, "the partition")
	c.Flags().Int64Var(&producer, "producer", -1, "the producer id (required)")
	return c
}
