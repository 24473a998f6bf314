package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/uuid"
)

var validProcessID = regexp.MustCompile(`^[0-9a-f-]{36}$`)

// ProcessID returns the id kept in a file of dir, and makes one at the first
// call. With it a process that restarts on the same directory takes its own
// place in the group again.
func ProcessID(dir string) (string, error) {
	path := filepath.Join(dir, "process-id")
	b, err := os.ReadFile(path)
	if err == nil {
		id := strings.TrimSpace(string(b))
		if !validProcessID.MatchString(id) {
			return "", fmt.Errorf("%s: %q is no process id; delete the file to get a new one", path, id)
		}
		return id, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	id := uuid.NewString()
	return id, os.WriteFile(path, []byte(id+"\n"), 0o600)
}
