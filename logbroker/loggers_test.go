package logbroker

import (
	"log/slog"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// setLoggers changes levels NAME=LEVEL of loggers in one request.
func (w *workbench) setLoggers(validateOnly bool, node string, op kmsg.IncrementalAlterConfigOp, levels ...[2]string) int16 {
	w.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version, req.ValidateOnly = 1, validateOnly
	r := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeBrokerLogger, ResourceName: node}
	for _, l := range levels {
		c := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: l[0], Op: op}
		if l[1] != "" {
			c.Value = &l[1]
		}
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	return ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0].ErrorCode
}

// TestLevelOfTheLog: it is told and set by clients, and refused as by Kafka what is no
// level, no logger, or not to be done to one.
func TestLevelOfTheLog(t *testing.T) {
	const set, remove, add, take = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete, kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract
	w := newWorkbench(t)
	w.Kill()
	w.cfg.LogLevel = new(slog.LevelVar)
	w.open()
	is := func(want string, level slog.Level) {
		t.Helper()
		got := w.whence(kmsg.ConfigResourceTypeBrokerLogger, "0", "root")
		if want += " DYNAMIC_BROKER_LOGGER_CONFIG:"; got != want || w.cfg.LogLevel.Level() != level {
			t.Errorf("told %q, want %q; the level is %v", got, want, w.cfg.LogLevel.Level())
		}
	}
	is("INFO", slog.LevelInfo)
	for name, level := range map[string]slog.Level{"TRACE": slog.LevelDebug - 4, "DEBUG": slog.LevelDebug, "WARN": slog.LevelWarn, "ERROR": slog.LevelError, "FATAL": slog.LevelError + 4, "INFO": slog.LevelInfo} {
		w.want(w.setLoggers(false, "0", set, [2]string{"root", name}), nil)
		is(name, level)
	}
	w.want(w.setLoggers(false, "0", set, [2]string{"root", "INFO"}), nil)
	for _, test := range []struct {
		node, name, level string
		op                kmsg.IncrementalAlterConfigOp
		want              *kerr.Error
	}{
		{"0", "root", "debug", set, kerr.InvalidConfig},
		{"0", "root", "OFF", set, kerr.InvalidConfig},
		{"0", "root", "", set, kerr.InvalidRequest},
		{"0", "root", "", remove, kerr.InvalidRequest},
		{"0", "foo", "", remove, kerr.InvalidConfig},
		{"0", "foo", "INFO", set, kerr.InvalidConfig},
		{"0", "ROOT", "INFO", set, kerr.InvalidConfig},
		{"0", "", "INFO", set, kerr.InvalidConfig},
		{"0", "root", "INFO", add, kerr.InvalidRequest},
		{"0", "root", "INFO", take, kerr.InvalidRequest},
		{"7", "root", "WARN", set, kerr.InvalidRequest},
		{"", "root", "WARN", set, kerr.InvalidRequest},
		{"x", "root", "WARN", set, kerr.InvalidRequest},
	} {
		w.want(w.setLoggers(false, test.node, test.op, [2]string{test.name, test.level}), test.want)
	}
	w.want(w.setLoggers(true, "0", set, [2]string{"root", "WARN"}), nil)
	w.want(w.setLoggers(false, "0", set, [2]string{"root", "WARN"}, [2]string{"foo", "WARN"}), kerr.InvalidConfig)
	w.want(w.setLoggers(false, "0", set, [2]string{"root", "WARN"}, [2]string{"root", "WARN"}), kerr.InvalidRequest)
	is("INFO", slog.LevelInfo)
	w.cfg.LogLevel.Set(slog.LevelInfo + 1)
	is("WARN", slog.LevelInfo+1)
	w.cfg.LogLevel.Set(slog.LevelError + 9)
	is("FATAL", slog.LevelError+9)
}

// TestNoLevelOfTheLog: a broker whose log has no level that can be changed has no logger.
func TestNoLevelOfTheLog(t *testing.T) {
	w := newWorkbench(t)
	if got := w.whence(kmsg.ConfigResourceTypeBrokerLogger, "0", "root"); got != "(none)" {
		t.Errorf("told %q", got)
	}
	w.want(w.setLoggers(false, "0", kmsg.IncrementalAlterConfigOpSet, [2]string{"root", "INFO"}), kerr.InvalidConfig)
	w.want(w.setLoggers(false, "0", kmsg.IncrementalAlterConfigOpSet), nil)
}
