package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/levada/levada/connectors/builtin"
	"github.com/levada/levada/pipelines"
)

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check FILE…", Short: "Check pipeline files, without running anything", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, files []string) error {
			bad := 0
			for _, file := range files {
				plan, found := load(file)
				switch {
				case a.output == "json":
					if err := json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"file": file, "ok": plan != nil, "diagnostics": found.List}); err != nil {
						return err
					}
				case plan != nil:
					fmt.Fprint(c.OutOrStdout(), found.String())
					fmt.Fprintf(c.OutOrStdout(), "%s: ok\n", file)
				default:
					fmt.Fprint(c.OutOrStderr(), found.String())
				}
				if plan == nil {
					bad++
				}
			}
			if bad > 0 {
				return inputError(&reportedError{fmt.Errorf("%d of %d files have errors", bad, len(files))})
			}
			return nil
		},
	}
}

// load reads a pipeline file against the connectors that there are.
func load(file string) (*pipelines.Plan, pipelines.Diagnostics) {
	return pipelines.Load(file, pipelines.Options{Connectors: builtin.Plugins(version)})
}
