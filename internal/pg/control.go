package pg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"pgtwin/internal/ha"
)

// State is what the control file says of the last server on the data directory (DBState of
// pg_control.h). It is the past: a crashed server leaves InProduction behind.
type State uint32

// The states, numbered as in PostgreSQL.
const (
	StartingUp State = iota
	ShutDown
	ShutDownInRecovery
	ShuttingDown
	InCrashRecovery
	InArchiveRecovery
	InProduction
)

// String is the state in the words of pg_controldata.
func (s State) String() string {
	names := [...]string{"starting up", "shut down", "shut down in recovery", "shutting down",
		"in crash recovery", "in archive recovery", "in production"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("unrecognized status code %d", uint32(s))
}

// Control is the control file of a data directory, as far as replication depends on it.
type Control struct {
	System              uint64 // system identifier
	Version             int    // pg_control_version: 1300, 1700 or 1800
	State               State
	Checkpoint          ha.LSN      // record of the last checkpoint or restart point
	Redo                ha.LSN      // where a recovery would begin
	Timeline            ha.Timeline // of that checkpoint; behind the WAL until the next one
	MinRecovery         ha.LSN      // a standby is consistent from here on; 0 on a primary
	MinRecoveryTimeline ha.Timeline // 0 on a primary
	BackupStart         ha.LSN      // of the backup whose end its recovery waits for; 0: of none
	WALLevel            WALLevel    // with which the latest WAL was written
	WALLogHints         bool
	Required            HotStandby // what a hot standby's settings must not be below
	Checksums           bool
	SegmentSize         int64 // bytes of a WAL segment
}

// Reached is the highest timeline the data files are known to be on.
func (c Control) Reached() ha.Timeline { return max(c.Timeline, c.MinRecoveryTimeline) }

// CleanlyStopped says whether the last server shut down properly, as a primary or a standby.
func (c Control) CleanlyStopped() bool {
	return c.State == ShutDown || c.State == ShutDownInRecovery
}

// WALLevel is wal_level as the control file stores it (WalLevel of xlog.h).
type WALLevel uint32

// The levels.
const (
	WALMinimal WALLevel = iota
	WALReplica
	WALLogical
)

// HotStandby are the settings that a hot standby compares with those of the primary whose WAL it
// replays (manual, "Hot Standby: Administrator's Overview"). With a lower one it pauses its replay, or
// does not start. 0 is a value like any other.
type HotStandby struct {
	MaxConnections          int
	MaxWorkerProcesses      int
	MaxWALSenders           int
	MaxPreparedTransactions int
	MaxLocksPerTransaction  int
}

// Offsets of the fields of ControlFileData (pg_control.h). They are the same in 1300 (PostgreSQL 13
// to 16), 1700 and 1800.
const (
	atSystem              = 0
	atVersion             = 8
	atState               = 16
	atCheckpoint          = 32
	atRedo                = 40
	atTimeline            = 48
	atMinRecovery         = 136
	atMinRecoveryTimeline = 144
	atBackupStart         = 152
	atWALLevel            = 172
	atWALLogHints         = 176
	atHotStandby          = 180 // five settings, in the order of HotStandby
	atSegmentSize         = 228
	atChecksums           = 252
	controlEnd            = 296 // after the checksum
)

// crcAt is where the checksum lies, which covers everything before it. 18 put default_char_signedness
// before the nonce and so moved it.
func crcAt(version uint32) (offset int, known bool) {
	switch version {
	case 1300, 1700:
		return 288, true
	case 1800:
		return 292, true
	}
	return 0, false
}

var errControlCRC = errors.New("its checksum is wrong")

// ReadControl reads global/pg_control of a data directory, whether or not a server runs on it.
func ReadControl(pgdata string) (Control, error) {
	path := filepath.Join(pgdata, "global", "pg_control")
	var control Control
	var err error
	// A running server may be writing it: a torn read shows as a wrong checksum and is over in an instant.
	for range 10 {
		var content []byte
		if content, err = os.ReadFile(path); err == nil {
			control, err = parseControl(content)
		}
		if !errors.Is(err, errControlCRC) {
			break
		}
	}
	if err != nil {
		return Control{}, fmt.Errorf("cannot read control file %s: %w", path, err)
	}
	return control, nil
}

func parseControl(content []byte) (Control, error) {
	if len(content) < controlEnd {
		return Control{}, fmt.Errorf("it has %d bytes, at least %d are needed", len(content), controlEnd)
	}
	order := binary.NativeEndian // the file is the server's memory
	version := order.Uint32(content[atVersion:])
	atCRC, known := crcAt(version)
	if !known {
		return Control{}, fmt.Errorf("its version %d is not known (1300, 1700 and 1800 are: PostgreSQL 14 to 18)", version)
	}
	if crc32.Checksum(content[:atCRC], crc32.MakeTable(crc32.Castagnoli)) != order.Uint32(content[atCRC:]) {
		return Control{}, errControlCRC
	}
	return Control{
		System:              order.Uint64(content[atSystem:]),
		Version:             int(version),
		State:               State(order.Uint32(content[atState:])),
		Checkpoint:          ha.LSN(order.Uint64(content[atCheckpoint:])),
		Redo:                ha.LSN(order.Uint64(content[atRedo:])),
		Timeline:            ha.Timeline(order.Uint32(content[atTimeline:])),
		MinRecovery:         ha.LSN(order.Uint64(content[atMinRecovery:])),
		MinRecoveryTimeline: ha.Timeline(order.Uint32(content[atMinRecoveryTimeline:])),
		BackupStart:         ha.LSN(order.Uint64(content[atBackupStart:])),
		WALLevel:            WALLevel(order.Uint32(content[atWALLevel:])),
		WALLogHints:         content[atWALLogHints] != 0,
		Required:            parseHotStandby(content[atHotStandby:]),
		Checksums:           order.Uint32(content[atChecksums:]) != 0,
		SegmentSize:         int64(order.Uint32(content[atSegmentSize:])),
	}, nil
}

func parseHotStandby(content []byte) HotStandby {
	at := func(n int) int { return int(int32(binary.NativeEndian.Uint32(content[4*n:]))) }
	return HotStandby{MaxConnections: at(0), MaxWorkerProcesses: at(1), MaxWALSenders: at(2),
		MaxPreparedTransactions: at(3), MaxLocksPerTransaction: at(4)}
}
