// Package builtin lists the connectors that the binary itself carries. Each
// runs in a process of its own all the same: levada plugin NAME.
package builtin

import (
	"github.com/levada/levada/connectors/file"
	"github.com/levada/levada/connectors/sdk"
	"github.com/levada/levada/connectors/sqlite"
)

// Plugins lists the built-in connectors by name.
func Plugins(version string) []sdk.Plugin {
	return []sdk.Plugin{file.Plugin(version), sqlite.Plugin(version)}
}

// Find returns the built-in connector of a name.
func Find(name, version string) (sdk.Plugin, bool) {
	for _, p := range Plugins(version) {
		if p.Name == name {
			return p, true
		}
	}
	return sdk.Plugin{}, false
}
