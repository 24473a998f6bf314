package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

func main() { os.Exit(execute(os.Args[1:])) }

// execute executes one command line and returns the exit code.
func execute(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var quiet *reportedError
	if !errors.As(err, &quiet) {
		fmt.Fprintln(os.Stderr, "levada:", strings.TrimSpace(err.Error()))
	}
	return exitCode(err)
}

// program is what was typed to call this program, such as bin/levada: the commands
// that hints name can be typed as they are.
var program = cmp.Or(os.Args[0], "levada")

// typed is a command, as cobra names it, with the program as it was typed.
func typed(command string) string { return program + strings.TrimPrefix(command, "levada") }

// app is what the commands share: the global flags.
type app struct {
	output  string
	verbose bool
}

func newRoot() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use:           "levada",
		Short:         "Stream processing with its own durable log, in one binary",
		Long:          "Levada runs stream-processing pipelines, exactly once, on a log of its own that\nspeaks the Kafka protocol, or on any Kafka cluster.",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if a.output == "" {
				a.output = "table"
				if forPrograms(c) && !term.IsTerminal(int(os.Stdout.Fd())) {
					a.output = "json"
				}
			}
			if a.output != "table" && a.output != "json" {
				return inputError(fmt.Errorf("--output %q: use table or json", a.output))
			}
			return nil
		},
	}
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "", "form of what is printed: table or json (default: table; for commands about a cluster json where standard output is no terminal)")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "log more")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return inputError(fmt.Errorf("%w (see: %s --help)", flagFault(err), typed(c.CommandPath())))
	})
	root.AddCommand(
		a.serverCommand(), a.runCommand(), a.checkCommand(), a.pluginCommand(),
		a.topicCommand(), a.groupCommand(), a.userCommand(), a.aclCommand(), a.quotaCommand(), a.txnCommand(), a.clusterCommand(), a.profileCommand(), a.logCommand(),
		a.backupCommand(), a.restoreCommand(), a.benchCommand(), a.versionCommand(),
	)
	root.InitDefaultCompletionCmd() // here, so that it says which shells it knows
	for _, c := range root.Commands() {
		wrapArgs(c)
	}
	return root
}

// forPrograms tells whether a command is about a cluster: what it prints is JSON
// where a program reads it.
func forPrograms(c *cobra.Command) bool {
	for c.HasParent() && c.Parent().HasParent() {
		c = c.Parent()
	}
	return c.PersistentFlags().Lookup("brokers") != nil || c.Name() == "profile"
}

// flagTakes is what a flag of a type takes.
var flagTakes = map[string]string{
	"bool": "true or false", "duration": "a number with a unit, such as 500ms, 30s or 5m", "float64": "a number",
	"int": "a whole number", "int16": "a whole number", "int32": "a whole number", "int64": "a whole number", "uint64": "a whole number, 0 or more",
	"int32Slice": "whole numbers with commas between them", "stringSlice": "names with commas between them",
}

// flagFault says what is wrong with a flag: with its value, not how Go says it.
func flagFault(err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	takes, ok := flagTakes[bad.GetFlag().Value.Type()]
	switch {
	case !ok:
		return fmt.Errorf("--%s %q: %w", bad.GetFlag().Name, bad.GetValue(), bad.Unwrap())
	case errors.Is(err, strconv.ErrRange):
		takes += " that is not as large"
	}
	return fmt.Errorf("--%s %q: use %s", bad.GetFlag().Name, bad.GetValue(), takes)
}

// misfit says which argument is missing or one too many.
func misfit(c *cobra.Command, args []string, err error) string {
	switch wanted := strings.Fields(c.Use)[1:]; {
	case len(args) < len(wanted):
		return wanted[len(args)] + " is missing"
	case len(args) > len(wanted):
		return fmt.Sprintf("%q is one too many", args[len(wanted)])
	}
	return err.Error()
}

// wrapArgs makes wrong arguments of a command, and of those below it, wrong
// input; a command that only groups others says which it knows.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return inputError(fmt.Errorf("%s (usage: %s)", misfit(c, args, err), typed(c.UseLine())))
			}
			return nil
		}
	}
	if c.HasSubCommands() && c.RunE == nil {
		c.Args = cobra.ArbitraryArgs // RunE says what is wrong with them
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return inputError(fmt.Errorf("%s has no command %q (see: %s --help)", c.CommandPath(), args[0], typed(c.CommandPath())))
			}
			return c.Help()
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}
