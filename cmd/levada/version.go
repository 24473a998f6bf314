package main

import (
	goruntime "runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is that of the release; the commit comes from the build.
const version = "0.1.0-dev"

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			commit := "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						commit = s.Value
					}
				}
			}
			return a.print(c.OutOrStdout(), map[string]string{
				"version": version, "commit": commit, "go": goruntime.Version(), "platform": goruntime.GOOS + "/" + goruntime.GOARCH,
			}, table{header: []string{"VERSION", "COMMIT", "GO", "PLATFORM"}, rows: [][]string{{version, commit, goruntime.Version(), goruntime.GOOS + "/" + goruntime.GOARCH}}})
		},
	}
}
