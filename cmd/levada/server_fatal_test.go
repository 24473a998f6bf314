package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/levada/levada/logbroker"
)

// cannotPromise is what a server says that ends because a sync failed.
const cannotPromise = "stopped, because nothing can be promised to be durable any more"

// TestServeUntilASyncFails: the first sync that fails ends a server, with the code of an
// environment that refuses, and what it says names the log and the reason.
func TestServeUntilASyncFails(t *testing.T) {
	var broken atomic.Bool
	failing := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpFileSyncData && strings.Contains(op.Path, "t-0") {
			return syscall.EIO
		}
		return nil
	})
	fatal := make(chan error, 1)
	broker, err := logbroker.Open(logbroker.Config{
		Dir: "data", FS: errorfs.Wrap(vfs.NewMem(), failing), AutoCreateTopics: true, OnFatal: func(err error) { fatal <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Kill)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	command := &cobra.Command{}
	command.SetOut(io.Discard)
	go func() {
		ended <- (&app{output: "table"}).serveUntil(t.Context(), command, broker, []endpoint{{scheme: "plain"}}, []net.Listener{ln}, fatal)
	}()
	client, err := kgo.NewClient(kgo.SeedBrokers(ln.Addr().String()), kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation(), kgo.RecordDeliveryTimeout(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), kgo.StringRecord("v")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("ended before anything failed: %v", err)
	default:
	}
	broken.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	acknowledged := make(chan error, 1)
	client.Produce(ctx, kgo.StringRecord("w"), func(_ *kgo.Record, err error) { acknowledged <- err })
	select {
	case err := <-ended:
		if exitCode(err) != exitEnvironment || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), cannotPromise) || !strings.Contains(err.Error(), "t-0") {
			t.Errorf("exit %d: %v", exitCode(err), err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the server goes on")
	}
	cancel()
	if err := <-acknowledged; err == nil {
		t.Error("a record is acknowledged that could not be synced")
	}
}

// TestServerEndsWhenASyncFails: a real server whose disk fails ends by itself, and says why;
// the next one goes on with what was durable.
func TestServerEndsWhenASyncFails(t *testing.T) {
	disk := newOutages(t, binary).disk
	data := filepath.Join(disk.Path(), "data")
	s := startServer(t, data, "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "t", "-p", "1", "-b", s.address)
	mustLevada(t, "one\n", "topic", "produce", "t", "-b", s.address)
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command(binary, "server", "--data", data, "--listen", "127.0.0.1:0", "--output", "json", "--fsync", "os")
	var said bytes.Buffer
	cmd.Stderr = &said
	s = startCommand(t, cmd)
	client, err := kgo.NewClient(kgo.SeedBrokers(s.address), kgo.DefaultProduceTopic("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	first := make(chan struct{})
	go func() { // so that there is something to be synced at any moment
		acknowledged := sync.OnceFunc(func() { close(first) })
		defer acknowledged()
		for client.ProduceSync(ctx, kgo.StringRecord("lost, perhaps")).FirstErr() == nil {
			acknowledged()
		}
	}()
	<-first
	if err := disk.Cut(); err != nil {
		t.Fatal(err)
	}
	var killed atomic.Bool
	kill := time.AfterFunc(20*time.Second, func() { killed.Store(true); _ = cmd.Process.Kill() })
	defer kill.Stop()
	_ = cmd.Wait()
	stop()
	if code := cmd.ProcessState.ExitCode(); killed.Load() || code != exitEnvironment || !strings.Contains(said.String(), "levada: "+cannotPromise) || strings.Contains(said.String(), "goroutine ") {
		t.Errorf("killed %t, exit %d, want %d by itself:\n%s", killed.Load(), code, exitEnvironment, said.String())
	}

	if err := disk.Remount(); err != nil {
		t.Fatal(err)
	}
	s = startServer(t, data, "127.0.0.1:0")
	mustLevada(t, "two\n", "topic", "produce", "t", "-b", s.address)
	if out := mustLevada(t, "", "topic", "consume", "t", "--format", `%v\n`, "-b", s.address); !strings.HasPrefix(out, "one\n") || !strings.HasSuffix(out, "\ntwo\n") {
		t.Errorf("after a restart there is\n%s", out)
	}
}
