package logbroker

import (
	"fmt"
	"log/slog"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rootLogger is the name of the broker's only logger, as in Kafka's that of all loggers
// without a level of their own (KIP-412).
const rootLogger = "root"

// logLevel is a level with Kafka's name.
type logLevel struct {
	name  string
	level slog.Level
}

// logLevels are the levels from the one that tells the most on. Nothing is as grave as
// the last.
var logLevels = []logLevel{
	{"TRACE", slog.LevelDebug - 4},
	{"DEBUG", slog.LevelDebug},
	{"INFO", slog.LevelInfo},
	{"WARN", slog.LevelWarn},
	{"ERROR", slog.LevelError},
	{"FATAL", slog.LevelError + 4},
}

// loggers are the loggers of which the level is known and can be changed.
func (b *Broker) loggers() []describedConfig {
	if b.cfg.LogLevel == nil {
		return nil
	}
	now := b.cfg.LogLevel.Level()
	i := slices.IndexFunc(logLevels, func(l logLevel) bool { return l.level >= now })
	if i < 0 {
		i = len(logLevels) - 1
	}
	return []describedConfig{{name: rootLogger, value: logLevels[i].name, source: kmsg.ConfigSourceDynamicBrokerLoggerConfig}}
}

// alterLoggers sets levels of loggers until the broker ends: all, or none.
func (b *Broker) alterLoggers(res kmsg.IncrementalAlterConfigsRequestResource, validateOnly bool) error {
	for _, c := range res.Configs {
		if c.Op != kmsg.IncrementalAlterConfigOpDelete && c.Value == nil {
			return fmt.Errorf("%w: the level of logger %q is null", kerr.InvalidRequest, c.Name)
		}
	}
	if err := b.checkNode(res.ResourceName); err != nil {
		return err
	}
	for _, c := range res.Configs {
		if err := b.checkLogger(c); err != nil {
			return err
		}
	}
	if validateOnly {
		return nil
	}
	for _, c := range res.Configs {
		b.cfg.LogLevel.Set(logLevels[levelNamed(*c.Value)].level)
		b.log.Warn("the level of the log was changed", "to", *c.Value)
	}
	return nil
}

func levelNamed(name string) int {
	return slices.IndexFunc(logLevels, func(l logLevel) bool { return l.name == name })
}

func (b *Broker) checkLogger(c kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	switch {
	case c.Op != kmsg.IncrementalAlterConfigOpSet && c.Op != kmsg.IncrementalAlterConfigOpDelete:
		return fmt.Errorf("%w: operation %d on logger %q: its level can only be set", kerr.InvalidRequest, c.Op, c.Name)
	case c.Name != rootLogger || b.cfg.LogLevel == nil:
		return fmt.Errorf("%w: there is no logger %q; DescribeConfigs lists those that there are", kerr.InvalidConfig, c.Name)
	case c.Op == kmsg.IncrementalAlterConfigOpDelete:
		return fmt.Errorf("%w: the level of logger %s cannot be deleted: set another", kerr.InvalidRequest, c.Name)
	case levelNamed(*c.Value) < 0:
		return fmt.Errorf("%w: the level of logger %s is %q; it takes TRACE, DEBUG, INFO, WARN, ERROR or FATAL", kerr.InvalidConfig, c.Name, *c.Value)
	}
	return nil
}
