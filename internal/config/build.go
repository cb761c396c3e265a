package config

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"pgtwin/internal/ocf"
)

// Build makes the Instance that a resource describes on a node: the parameters
// that the resource sets, over the instance's table of the file, over the file's
// [defaults], over the defaults in the code. node may be "" where it is not
// known, as when validate-all must not look at the host; then what depends on
// it is empty and not checked. The error is an ocf.ErrConfigured with one
// mistake a line.
func Build(p ocf.Params, f File, node, resource string) (Instance, error) {
	name := p.String("container_name")
	i := Instance{
		Name:     name,
		Resource: resource,
		Node:     node,

		PGData:          p.String("pgdata"),
		Port:            int(p.Int("pgport")),
		User:            p.String("pguser"),
		ApplicationBase: p.String("application_name"),
		RepMode:         p.String("rep_mode"),
		Nodes:           strings.Fields(p.String("node_list")),
		VIP:             p.String("vip"),

		ContainerMode: p.Bool("container_mode"),
		MajorVersion:  int(p.Int("pg_major_version")),

		BackupBeforeBasebackup:      p.Bool("backup_before_basebackup"),
		BasebackupTimeout:           time.Duration(p.Int("basebackup_timeout")) * time.Second,
		SlotName:                    p.String("slot_name"),
		MaxSlotWALKeepSize:          int(p.Int("max_slot_wal_keep_size")),
		ReplicationFailureThreshold: int(p.Int("replication_failure_threshold")),
		MaxPromotionLagBytes:        p.Int("max_promotion_lag_bytes"),
		ForcePromotion:              p.Bool("force_promotion"),
	}
	settings := f.For(name)
	settings.override(p)
	settings.apply(&i)
	if !i.BackupBeforeBasebackup {
		i.KeepReplaced = 0
	}
	if node != "" {
		i.ApplicationName = ApplicationNameOf(i, node)
	}
	if err := errors.Join(i.problems()...); err != nil {
		return i, &ocf.Error{Code: ocf.ErrConfigured, Err: err}
	}
	return i, nil
}

// override replaces settings that are defaults for OCF parameters by what the
// resource sets.
func (s *Settings) override(p ocf.Params) {
	for name, to := range map[string]*string{
		"container_runtime": &s.ContainerRuntime,
		"container_image":   &s.ContainerImage,
		"pgpassfile":        &s.PassFile,
		"pg_bindir":         &s.BinDir,
	} {
		if p.Given(name) {
			*to = p.String(name)
		}
	}
}

// apply copies the settings to the instance.
func (s Settings) apply(i *Instance) {
	i.Runtime = s.ContainerRuntime
	i.Image = s.ContainerImage
	i.BinDir = path.Clean(s.BinDir)
	i.PassFile = s.PassFile
	i.SyncTimeout = time.Duration(s.SyncTimeout)
	i.StopTimeout = time.Duration(s.StopTimeout)
	i.BasebackupMaxRate = int64(s.BasebackupMaxRate)
	i.KeepReplaced = s.KeepReplaced
	i.AcceptCollationChange = s.AcceptCollation
	i.ContainerDirs = nil
	for _, dir := range s.ContainerDirs {
		i.ContainerDirs = append(i.ContainerDirs, path.Clean(dir))
	}
	i.ShmSize = int64(s.ShmSize)
	i.WALKeepSize = int64(s.WALKeepSize)
	i.LostKeep = int64(s.LostKeep)
	i.SocketDir = path.Clean(s.SocketDir)
	i.HTTPListen = s.HTTPListen
	i.LogLevel = s.LogLevel
	i.Addresses = maps.Clone(s.Addresses)
	i.Limits = s.Limits
}

// problems are the mistakes that only several settings together make.
func (i Instance) problems() []error {
	var wrong []error
	if i.ContainerMode && i.Image == "auto" {
		wrong = append(wrong, errors.New("container_image: name the image, as registry/name:tag: two nodes that each chose one could choose differently"))
	}
	if len(i.Nodes) == 0 {
		return append(wrong, i.nameProblems()...)
	}
	if i.Node != "" && !slices.Contains(i.Nodes, i.Node) {
		wrong = append(wrong, fmt.Errorf("node_list: this node, %s, is not in it%s", i.Node, ocf.DidYouMean(i.Node, i.Nodes)))
	}
	for _, node := range slices.Sorted(maps.Keys(i.Addresses)) {
		if !slices.Contains(i.Nodes, node) {
			wrong = append(wrong, fmt.Errorf("addresses: %s is not in node_list%s", node, ocf.DidYouMean(node, i.Nodes)))
		}
	}
	return append(wrong, i.nameProblems()...)
}
