package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Limits are resource controls of the instance's slice, as systemd writes
// them (systemd.resource-control(5)); "" leaves systemd's default.
type Limits struct {
	MemoryMax, MemoryHigh, MemorySwapMax, CPUQuota, CPUWeight, IOWeight, TasksMax string
}

// problems are the limits that systemd would ignore with a line in the journal,
// which is not where the administrator looks.
func (l Limits) problems() []problem {
	rules := []struct {
		key, value string
		check      func(string) error
	}{
		{"MemoryMax", l.MemoryMax, checkMemory},
		{"MemoryHigh", l.MemoryHigh, checkMemory},
		{"MemorySwapMax", l.MemorySwapMax, checkSwap},
		{"CPUQuota", l.CPUQuota, checkQuota},
		{"CPUWeight", l.CPUWeight, checkCPUWeight},
		{"IOWeight", l.IOWeight, checkWeight},
		{"TasksMax", l.TasksMax, checkTasks},
	}
	var found []problem
	for _, r := range rules {
		if r.value == "" {
			continue
		}
		if err := r.check(r.value); err != nil {
			found = append(found, problem{[]string{r.key}, err})
		}
	}
	return found
}

func checkMemory(s string) error {
	digits := s
	if s != "" && strings.IndexByte("KMGTPE", s[len(s)-1]) >= 0 {
		digits = s[:len(s)-1]
	}
	if s == "infinity" || number(digits, 0) || percentage(s, 100) {
		return nil
	}
	return fmt.Errorf("%q is not a size such as 8G, a percentage or infinity", s)
}

func checkSwap(s string) error {
	if s == "0" {
		return nil
	}
	return checkMemory(s)
}

func checkQuota(s string) error {
	if percentage(s, 0) {
		return nil
	}
	return fmt.Errorf("%q is not a percentage of one CPU such as 250%%", s)
}

func checkCPUWeight(s string) error {
	if s == "idle" {
		return nil
	}
	return checkWeight(s)
}

func checkWeight(s string) error {
	if number(s, 10000) {
		return nil
	}
	return fmt.Errorf("%q is not a weight of 1 to 10000", s)
}

func checkTasks(s string) error {
	if s == "infinity" || number(s, 0) || percentage(s, 100) {
		return nil
	}
	return fmt.Errorf("%q is not a number of tasks, a percentage or infinity", s)
}

// number says whether s is a whole number from 1 to limit; 0 is no limit.
func number(s string, limit uint64) bool {
	n, err := strconv.ParseUint(s, 10, 64)
	return err == nil && n > 0 && (limit == 0 || n <= limit)
}

func percentage(s string, limit uint64) bool {
	digits, found := strings.CutSuffix(s, "%")
	return found && number(digits, limit)
}
