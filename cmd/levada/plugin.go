package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/levada/levada/connectors/builtin"
	"github.com/levada/levada/connectors/sdk"
)

func pluginNames() []string {
	var names []string
	for _, p := range builtin.Plugins(version) {
		names = append(names, p.Name)
	}
	return names
}

func (a *app) pluginCommand() *cobra.Command {
	return &cobra.Command{
		Use: "plugin NAME", Short: "Be a built-in connector plugin (started by a connector host)",
		Long: "Built-in connectors: " + strings.Join(pluginNames(), ", ") + ".\nA host starts this command and speaks the plugin protocol with it.",
		Args: cobra.ExactArgs(1), ValidArgs: pluginNames(),
		RunE: func(_ *cobra.Command, args []string) error {
			plugin, ok := builtin.Find(args[0], version)
			if !ok {
				return inputError(fmt.Errorf("no built-in connector %q: there are %s", args[0], strings.Join(pluginNames(), ", ")))
			}
			sdk.Serve(plugin)
			return nil
		},
	}
}
