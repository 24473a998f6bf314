package logbroker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/meta"
)

// System values in the database.
const (
	sysBoot    = "boot"    // Config.BootID when the page cache was last trusted
	sysClean   = "clean"   // 1 after Close, 0 while open
	sysEpoch   = "epoch"   // number of starts
	sysCluster = "cluster" // the cluster id
	sysSalts   = "salts"   // a secret, of which the salts of users are made
	sysNextPID = "pid"     // the first producer id that was never given out
)

// start is what an Open found.
type start struct {
	boot string
	// unclean: the last run did not end with Close. Its page cache is still
	// there, unless powerLoss.
	unclean bool
	// powerLoss: what was not synced may be gone.
	powerLoss bool
	// suspectDisk: a sync failed in the last run.
	suspectDisk bool
}

// Open opens the data directory, recovers what the last run left, and returns
// a broker ready for Handle and Serve. It holds the lock of the directory
// until Close.
func Open(cfg Config) (*Broker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, log: cfg.Logger, gate: newGateFS(cfg.FS), handlers: map[int16]served{}, groups: noGroups{}, readers: newReaders()}
	b.run.wakeUp = make(chan struct{}, 1)
	b.run.stop = make(chan struct{})
	b.run.listener, b.run.conns = map[net.Listener]struct{}{}, map[net.Conn]struct{}{}
	b.run.hosts, b.guards = map[string]int{}, guards()
	b.timers.wake = b.wake
	b.space.b = b
	b.sessions.open(&b.cfg.Limits)
	b.cleaner = cleaner{b: b, damaged: map[*partition]bool{}}
	b.topics.init(b)
	b.txns.init(b)
	if cfg.planted != nil {
		b.log.Warn("a promise is broken on purpose", "fault", cfg.planted.String())
	}
	shapes := requestShapes()
	for _, h := range requestTable() {
		sh := shapes[int16(h.key)]
		b.handlers[int16(h.key)] = served{
			handler: h, flexible: sh.flexible, fields: parseShape(sh.fields),
			empty: func() kmsg.Request { return kmsg.RequestForKey(int16(h.key)) },
		}
	}
	if b.dir, err = openDataDir(b.gate, cfg.Dir); err != nil {
		return nil, err
	}
	b.meta, err = meta.Open(meta.Config{FS: b.gate, Dir: b.dir.Join(metaDir), Logger: b.log, OnFatal: b.fatal})
	if err != nil {
		return nil, errors.Join(err, b.dir.Close())
	}
	if err := b.syncer.open(b); err != nil {
		b.Kill()
		return nil, err
	}
	if err := b.recover(); err != nil {
		b.Kill()
		return nil, fmt.Errorf("data directory %s: %w", cfg.Dir, err)
	}
	if !cfg.Synchronous {
		b.run.work.Go(b.tickLoop)
		b.beginPulse()
		first := b.now().Add(b.settings.Load().compactionInterval)
		b.cleaner.schedule(first, first)
		b.scheduleOffsetsCheck()
	}
	return b, nil
}

// recover brings the directory from whatever the last run left to a state in
// which every promise holds again. A crash on the way leads here again.
func (b *Broker) recover() error {
	st, err := b.beginRun()
	if err != nil {
		return err
	}
	if st.unclean {
		b.log.Info("the last run did not end cleanly", "power_loss", st.powerLoss, "suspect_disk", st.suspectDisk)
	}
	if err := b.pids.open(b); err != nil {
		return err
	}
	if err := b.openSettings(); err != nil {
		return err
	}
	if err := b.topics.open(st); err != nil {
		return err
	}
	if err := b.txns.recover(st); err != nil {
		return err
	}
	if st.suspectDisk {
		if err := b.dir.clearSuspect(); err != nil {
			return err
		}
	}
	if err := b.openSecurity(); err != nil {
		return err
	}
	if err := b.groupSettings.open(b); err != nil {
		return err
	}
	groups, err := openGroups(b)
	if err != nil {
		return err
	}
	b.groups = groups
	return nil
}

// beginRun reads how the last run ended and opens this one. The boot id is
// written now only if the page cache can be trusted; after a power loss it is
// written with the decisions that end it, so that a crash in between is seen
// as the same power loss.
func (b *Broker) beginRun() (start, error) {
	st := start{boot: b.cfg.BootID(), suspectDisk: b.dir.isSuspect()}
	values := map[string][]byte{}
	for _, name := range []string{sysBoot, sysClean, sysEpoch, sysCluster, sysSalts} {
		v, err := b.meta.System(name)
		if err != nil {
			return st, err
		}
		values[name] = v
	}
	first := values[sysBoot] == nil
	st.unclean = st.suspectDisk || (!first && string(values[sysClean]) != "\x01")
	st.powerLoss = st.suspectDisk || (st.unclean && string(values[sysBoot]) != st.boot)
	epoch, err := strconv.ParseInt("0"+string(values[sysEpoch]), 10, 32)
	if err != nil {
		return st, fmt.Errorf("number of starts: %w", err)
	}
	b.epoch = int32(epoch) + 1
	if b.cfg.ClusterID == "" {
		if b.cfg.ClusterID = string(values[sysCluster]); b.cfg.ClusterID == "" {
			id, err := b.newTopicID()
			if err != nil {
				return st, err
			}
			b.cfg.ClusterID = encodeID(id)
		}
	}
	if b.security.secret = values[sysSalts]; len(b.security.secret) == 0 {
		b.security.secret = make([]byte, 32)
		if _, err := rand.Read(b.security.secret); err != nil {
			return st, fmt.Errorf("random bytes: %w", err)
		}
	}
	batch := b.meta.NewBatch()
	batch.PutSystem(sysSalts, b.security.secret)
	batch.PutSystem(sysClean, []byte{0})
	batch.PutSystem(sysEpoch, []byte(strconv.Itoa(int(b.epoch))))
	batch.PutSystem(sysCluster, []byte(b.cfg.ClusterID))
	if !st.powerLoss {
		batch.PutSystem(sysBoot, []byte(st.boot))
	}
	return st, b.commit(batch)
}

// newTopicID takes a random id. The ids that begin like a zero or a one are
// Kafka's own; a dash at the front of the text form confuses command lines.
func (b *Broker) newTopicID() (meta.TopicID, error) {
	for {
		var id meta.TopicID
		if _, err := io.ReadFull(b.cfg.Rand, id[:]); err != nil {
			return id, fmt.Errorf("random bytes: %w", err)
		}
		id[6] = id[6]&0x0f | 0x40 // a version 4 UUID
		id[8] = id[8]&0x3f | 0x80
		if encodeID(id)[0] != '-' {
			return id, nil
		}
	}
}
