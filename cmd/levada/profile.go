package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// profiles are named settings, of which one is used where nothing else is said.
type profiles struct {
	Current  string              `json:"current,omitempty"`
	Profiles map[string]settings `json:"profiles"`
}

// profilesFile is LEVADA_PROFILES, or in the user's folder for configuration.
func profilesFile() (string, error) {
	if name := os.Getenv("LEVADA_PROFILES"); name != "" {
		return name, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "levada", "profiles.json"), nil
}

func readProfiles() (profiles, error) {
	p := profiles{Profiles: map[string]settings{}}
	name, err := profilesFile()
	if err != nil {
		return p, nil // no home, no profiles
	}
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return p, fmt.Errorf("profiles in %s: %w", name, err)
	}
	if p.Profiles == nil {
		p.Profiles = map[string]settings{}
	}
	return p, nil
}

// write replaces the file, which only its user may read.
func (p profiles) write() error {
	name, err := profilesFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// chosen is the profile that --profile or LEVADA_PROFILE names, or the current one.
func (p profiles) chosen(name string) (settings, error) {
	if name == "" {
		name = os.Getenv("LEVADA_PROFILE")
	}
	if name == "" {
		return p.Profiles[p.Current], nil
	}
	s, ok := p.Profiles[name]
	if !ok {
		return nil, fmt.Errorf("profile %q does not exist (see: %s profile list)", name, program)
	}
	return s, nil
}

func (a *app) profileCommand() *cobra.Command {
	c := &cobra.Command{Use: "profile", Short: "Name clusters, and choose the one that commands talk to"}
	c.AddCommand(a.profileSetCommand(), a.profileUseCommand(), a.profileListCommand(), a.profileDeleteCommand())
	return c
}

// edited changes the profiles, writes them and prints what there is then.
func (a *app) edited(c *cobra.Command, change func(*profiles) error) error {
	p, err := readProfiles()
	if err == nil {
		err = change(&p)
	}
	if err != nil {
		return inputError(err)
	}
	if err := p.write(); err != nil {
		return environmentError(err)
	}
	return a.printProfiles(c, p)
}

func (a *app) profileSetCommand() *cobra.Command {
	var values []string
	c := &cobra.Command{
		Use: "set NAME", Short: "Make a profile, or replace one", Args: cobra.ExactArgs(1),
		Long:    "The first profile is used at once. A password is better left to LEVADA_PASS: the file is only as safe as your account.",
		Example: "  levada profile set staging -X brokers=kafka.staging:9093 -X tls.enabled=true -X user=ada",
		RunE: func(c *cobra.Command, args []string) error {
			return a.edited(c, func(p *profiles) error {
				if args[0] == "" || args[0] == "-" {
					return fmt.Errorf("profile %q: give it a name of its own", args[0])
				}
				s, err := readSettings(values, func(string) string { return "" }, nil)
				if err != nil {
					return err
				}
				if p.Profiles[args[0]] = s; len(p.Profiles) == 1 {
					p.Current = args[0]
				}
				return nil
			})
		},
	}
	c.Flags().StringArrayVarP(&values, "setting", "X", nil, "NAME=VALUE of "+strings.Join(settingNames, ", "))
	return c
}

func (a *app) profileUseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Choose the profile that is used where nothing else is said; - chooses none", Args: cobra.ExactArgs(1), ValidArgsFunction: oneOf(completeProfiles),
		RunE: func(c *cobra.Command, args []string) error {
			return a.edited(c, func(p *profiles) error {
				if args[0] == "-" {
					p.Current = ""
					return nil
				}
				if _, err := p.chosen(args[0]); err != nil {
					return err
				}
				p.Current = args[0]
				return nil
			})
		},
	}
}

func (a *app) profileListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List profiles; no password is shown", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := readProfiles()
			if err != nil {
				return inputError(err)
			}
			return a.printProfiles(c, p)
		},
	}
}

// printProfiles prints all of them, without their secrets.
func (a *app) printProfiles(c *cobra.Command, p profiles) error {
	type row struct {
		Name    string            `json:"name"`
		Current bool              `json:"current"`
		Values  map[string]string `json:"settings"`
	}
	rows := []row{}
	t := table{header: []string{"PROFILE", "CURRENT", "BROKERS", "USER"}, empty: "no profiles; make one with: " + program + " profile set NAME -X brokers=HOST:PORT"}
	for _, name := range slices.Sorted(maps.Keys(p.Profiles)) {
		values := maps.Clone(p.Profiles[name])
		for _, secret := range []string{"pass", "token"} {
			if values[secret] != "" {
				values[secret] = "(set)"
			}
		}
		current := name == p.Current
		rows = append(rows, row{name, current, values})
		mark := ""
		if current {
			mark = "*"
		}
		t.rows = append(t.rows, []string{name, mark, values["brokers"], values["user"]})
	}
	return a.print(c.OutOrStdout(), map[string]any{"profiles": rows}, t)
}

func (a *app) profileDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Forget a profile", Args: cobra.ExactArgs(1), ValidArgsFunction: oneOf(completeProfiles),
		RunE: func(c *cobra.Command, args []string) error {
			return a.edited(c, func(p *profiles) error {
				if _, err := p.chosen(args[0]); err != nil {
					return err
				}
				delete(p.Profiles, args[0])
				if p.Current == args[0] {
					p.Current = ""
				}
				return nil
			})
		},
	}
}

func completeProfiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	p, err := readProfiles()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(p.Profiles)), cobra.ShellCompDirectiveNoFileComp
}
