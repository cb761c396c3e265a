package ledger

import (
	"fmt"
	"slices"
	"strings"
)

// Account compares what a client was told with the rows that are there.
type Account struct {
	Acknowledged int
	Unsure       int
	Lost         []int64 // acknowledged and not there
	Doubled      []int64 // there more than once
	Strange      []int64 // there although refused, or never sent
}

// Settle draws up the account of one client from its notes and the numbers of its rows.
func Settle(notes []Note, rows []int64) Account {
	var a Account
	told := make(map[int64]Outcome, len(notes))
	for _, n := range notes {
		told[n.Number] = n.Outcome
	}
	there := make(map[int64]int, len(rows))
	for _, number := range rows {
		there[number]++
	}
	for _, n := range notes {
		switch n.Outcome {
		case Acknowledged:
			a.Acknowledged++
			if there[n.Number] == 0 {
				a.Lost = append(a.Lost, n.Number)
			}
		case Unsure:
			a.Unsure++
		}
	}
	for number, times := range there {
		if times > 1 {
			a.Doubled = append(a.Doubled, number)
		}
		if outcome, sent := told[number]; !sent || outcome == Refused {
			a.Strange = append(a.Strange, number)
		}
	}
	slices.Sort(a.Doubled)
	slices.Sort(a.Strange)
	return a
}

// Err says what is wrong with the account: nil is a database that kept its word.
func (a Account) Err() error {
	var wrong []string
	for what, numbers := range map[string][]int64{"lost": a.Lost, "doubled": a.Doubled, "there although refused": a.Strange} {
		if len(numbers) > 0 {
			wrong = append(wrong, fmt.Sprintf("%d rows %s, the first is %d", len(numbers), what, numbers[0]))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("of %d acknowledged rows: %s", a.Acknowledged, strings.Join(wrong, "; "))
}
