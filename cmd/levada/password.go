package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// readPassword reads a line: without showing it where it is typed.
func readPassword(c *cobra.Command) (string, error) {
	if fd := int(os.Stdin.Fd()); c.InOrStdin() == os.Stdin && term.IsTerminal(fd) {
		fmt.Fprint(c.ErrOrStderr(), "password: ")
		typed, err := readHidden(c, fd)
		fmt.Fprintln(c.ErrOrStderr())
		if err == nil && typed == "" {
			err = inputError(errors.New("the password is empty"))
		}
		return typed, err
	}
	in := bufio.NewScanner(interruptible(c.Context(), c.InOrStdin()))
	if !in.Scan() || in.Text() == "" {
		if err := in.Err(); err != nil {
			return "", err
		}
		return "", inputError(errors.New("the password is empty: give it on standard input"))
	}
	return in.Text(), nil
}

// readHidden reads a line of a terminal without echo. A signal ends it at once, and
// the terminal shows again what is typed.
func readHidden(c *cobra.Command, fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	type answer struct {
		text []byte
		err  error
	}
	read := make(chan answer, 1) // with room: nobody takes it after a signal
	go func() {
		b, err := term.ReadPassword(fd)
		read <- answer{b, err}
	}()
	select {
	case a := <-read:
		return string(a.text), a.err
	case <-c.Context().Done():
		return "", errors.Join(errInterrupted, term.Restore(fd, before))
	}
}
