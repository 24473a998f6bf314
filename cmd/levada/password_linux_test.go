package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a terminal: what is typed into the keyboard is read from the tty.
func terminal(t *testing.T) (keyboard, tty *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return keyboard, tty
}

func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// TestSignalsEndAPasswordPrompt: Ctrl-C and SIGTERM end the prompt at once, and the
// terminal shows again what is typed.
func TestSignalsEndAPasswordPrompt(t *testing.T) {
	for name, interrupt := range map[string]func(*os.File, *os.Process) error{
		"Ctrl-C":  func(keyboard *os.File, _ *os.Process) error { _, err := keyboard.WriteString("\x03"); return err },
		"SIGTERM": func(_ *os.File, p *os.Process) error { return p.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			keyboard, tty := terminal(t)
			cmd := exec.Command(binary, "user", "set", "ann")
			cmd.Stdin = tty
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stop := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
			defer stop.Stop()
			said := bufio.NewReader(stderr)
			if _, err := said.ReadString(':'); err != nil {
				t.Fatalf("no prompt: %v", err)
			}
			for echoes(t, tty) && cmd.Process.Signal(syscall.Signal(0)) == nil { // it hides what is typed just after it asked
				runtime.Gosched()
			}
			if err := interrupt(keyboard, cmd.Process); err != nil {
				t.Fatal(err)
			}
			rest, _ := said.ReadString(0) // to the end
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(rest, "interrupted") {
				t.Errorf("exit %d\n%s", code, rest)
			}
			if !echoes(t, tty) {
				t.Error("the terminal shows no more what is typed")
			}
		})
	}
}
