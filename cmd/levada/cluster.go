package main

import (
	"sort"
	"strconv"

	"github.com/spf13/cobra"
)

func (a *app) clusterCommand() *cobra.Command {
	cl := &cluster{}
	c := &cobra.Command{Use: "cluster", Short: "Look at the brokers and their configs"}
	cl.addFlags(c)
	c.AddCommand(a.clusterInfoCommand(cl), a.clusterConfigCommand(cl), a.clusterAlterCommand(cl))
	return c
}

type brokerRow struct {
	ID         int32  `json:"id"`
	Host       string `json:"host"`
	Port       int32  `json:"port"`
	Controller bool   `json:"controller"`
	Partitions int    `json:"partitions_led"`
}

func (a *app) clusterInfoCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "info", Short: "Show the cluster's id, its brokers and how many partitions each leads", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			m, err := admin.Metadata(c.Context())
			if err != nil {
				return err
			}
			led := map[int32]int{}
			for _, topic := range m.Topics {
				for _, p := range topic.Partitions {
					led[p.Leader]++
				}
			}
			rows := []brokerRow{}
			t := table{header: []string{"BROKER", "ADDRESS", "CONTROLLER", "PARTITIONS LED"}}
			for _, b := range m.Brokers {
				r := brokerRow{b.NodeID, b.Host, b.Port, b.NodeID == m.Controller, led[b.NodeID]}
				rows = append(rows, r)
				t.rows = append(t.rows, []string{
					strconv.Itoa(int(r.ID)), r.Host + ":" + strconv.Itoa(int(r.Port)), strconv.FormatBool(r.Controller), strconv.Itoa(r.Partitions),
				})
			}
			if a.output == "table" {
				t.header[0] = "BROKER OF " + m.Cluster
			}
			return a.print(c.OutOrStdout(), map[string]any{"cluster": m.Cluster, "controller": m.Controller, "brokers": rows, "topics": len(m.Topics)}, t)
		},
	}
}

func (a *app) clusterConfigCommand(cl *cluster) *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "Show the configs of the brokers", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			brokers, err := admin.ListBrokers(c.Context())
			if err != nil {
				return err
			}
			configs, err := admin.DescribeBrokerConfigs(c.Context(), brokers.NodeIDs()...)
			if err != nil {
				return onCluster("configs of the brokers", "describe_configs").explained(err, "")
			}
			all := map[string]map[string]string{}
			t := table{header: []string{"BROKER", "CONFIG", "VALUE", "SOURCE"}}
			for _, broker := range configs {
				if broker.Err != nil {
					return onCluster("configs of broker "+broker.Name, "describe_configs").explained(broker.Err, "")
				}
				all[broker.Name] = map[string]string{}
				sort.Slice(broker.Configs, func(i, j int) bool { return broker.Configs[i].Key < broker.Configs[j].Key })
				for _, cfg := range broker.Configs {
					all[broker.Name][cfg.Key] = cfg.MaybeValue()
					t.rows = append(t.rows, []string{broker.Name, cfg.Key, cfg.MaybeValue(), cfg.Source.String()})
				}
			}
			return a.print(c.OutOrStdout(), map[string]any{"brokers": all}, t)
		},
	}
}

func (a *app) clusterAlterCommand(cl *cluster) *cobra.Command {
	var set, reset []string
	c := &cobra.Command{
		Use: "alter-config", Short: "Change configs of all brokers", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			changes, err := alterations(set, reset)
			if err != nil {
				return err
			}
			admin, err := cl.admin(c.Context())
			if err != nil {
				return err
			}
			defer admin.Close()
			brokers := onCluster("brokers", "alter_configs")
			answers, err := admin.AlterBrokerConfigs(c.Context(), changes)
			if err != nil {
				return brokers.explained(err, "")
			}
			return a.printAltered(c, func(string) subject { return brokers }, answers)
		},
	}
	addAlterFlags(c, &set, &reset)
	return c
}
