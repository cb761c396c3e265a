package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// Ask sends one request to the supervisor behind socket and waits for the
// answer until ctx ends. An error means that no answer came: the supervisor is
// down, busy or hung, and nothing is known. A refusal is no error of Ask but
// Answer.Error.
func Ask(ctx context.Context, socket string, verb Verb) (Answer, error) {
	answer, err := ask(ctx, socket, verb)
	if err != nil {
		return Answer{}, fmt.Errorf("cannot ask the supervisor for %s on %s: %w", verb, socket, err)
	}
	return answer, nil
}

func ask(ctx context.Context, socket string, verb Verb) (Answer, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	request := Request{Verb: verb}
	if deadline, ok := ctx.Deadline(); ok {
		request.Deadline = deadline
	}
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return Answer{}, errors.Join(context.Cause(ctx), err)
	}
	var answer Answer
	if err := json.NewDecoder(bufio.NewReader(conn)).Decode(&answer); err != nil {
		return Answer{}, errors.Join(context.Cause(ctx), err)
	}
	return answer, nil
}
