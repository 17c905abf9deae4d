// Command mongo is the MongoDB-wire server of the native stack and of the tests: FerretDB over
// SQLite, in one process, for machines that have no mongod.
//
//	mongo -listen 127.0.0.1:27017 -data FOLDER
//
// FerretDB 1 reads a document, changes it and puts it back without holding it in between, so that
// of two updates at once one is lost. mongod loses none. Therefore clients don't talk to FerretDB
// but to a gate in front of it, which lets one writing command through at a time, on all connections
// together; reads pass freely.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "where clients connect")
	data := flag.String("data", "", "the folder of the databases; made when it is missing")
	certs := flag.String("certs", "", "a folder with ca.pem, server.pem and server.key: clients then need TLS and a certificate")
	flag.Parse()
	log.SetFlags(log.LstdFlags | log.Lmsgprefix)
	log.SetPrefix("mongo: ")
	if err := run(*listen, *data, *certs); err != nil {
		log.Fatal(err)
	}
}

func run(listen, data, certs string) error {
	if data == "" {
		return fmt.Errorf("-data is missing: the folder of the databases")
	}
	folder, err := filepath.Abs(data)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()

	// Port 0: any that is free, and nobody but the gate is told which.
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Handler:   "sqlite",
		SQLiteURL: "file:" + folder + "/",
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Run(stop) }()
	backend, err := url.Parse(server.MongoDBURI())
	if err != nil {
		return err
	}

	// Only now: an open port means that the database answers.
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	if certs != "" {
		if listener, err = secured(listener, certs); err != nil {
			return err
		}
	}
	go accept(listener, backend.Host)
	log.Printf("listens on %s, keeps its databases in %s", listen, folder)
	return <-ended
}

func secured(listener net.Listener, certs string) (net.Listener, error) {
	certificate, err := tls.LoadX509KeyPair(filepath.Join(certs, "server.pem"), filepath.Join(certs, "server.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(certs, "ca.pem"))
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(ca)
	return tls.NewListener(listener, &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
	}), nil
}

func accept(listener net.Listener, backend string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer client.Close()
			if err := serve(client, backend); err != nil {
				log.Printf("%s: %v", client.RemoteAddr(), err)
			}
		}()
	}
}

// oneWrite is held from before a write goes to the server until its whole reply is back.
var oneWrite sync.Mutex

// serve passes the requests of one client on, one after the other, as drivers send them. Each client
// has a connection to the server of its own, because cursors and logins belong to a connection.
func serve(client net.Conn, backend string) error {
	server, err := net.Dial("tcp", backend)
	if err != nil {
		return err
	}
	defer server.Close()
	fromClient, fromServer := bufio.NewReader(client), bufio.NewReader(server)
	for {
		request, err := readMessage(fromClient)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		reply, err := ask(server, fromServer, request)
		if err != nil {
			return err
		}
		if request.unanswered() {
			continue // FerretDB replies all the same; mongod does not, and the client reads nothing.
		}
		if _, err := client.Write(reply); err != nil {
			return err
		}
	}
}

// ask waits for the reply even if the client has left: its write may be under way.
func ask(server io.Writer, fromServer io.Reader, request message) (message, error) {
	if request.writes() {
		oneWrite.Lock()
		defer oneWrite.Unlock()
	}
	if _, err := server.Write(request); err != nil {
		return nil, err
	}
	return readMessage(fromServer)
}

// message is one of the wire protocol, header included: four int32 (length, request id, id that it
// answers, opcode); in an OP_MSG then an int32 of flags and sections.
type message []byte

const (
	headerLen  = 16
	maxLen     = 48_000_000
	opMsg      = 2013
	moreToCome = 1 << 1
)

func (m message) int32At(at int) uint32 { return binary.LittleEndian.Uint32(m[at:]) }

func readMessage(from io.Reader) (message, error) {
	m := make(message, headerLen)
	if _, err := io.ReadFull(from, m); err != nil {
		return nil, err
	}
	length := m.int32At(0)
	if length < headerLen || length > maxLen {
		return nil, fmt.Errorf("a message of %d bytes is none of the MongoDB protocol", length)
	}
	m = append(m, make(message, length-headerLen)...)
	_, err := io.ReadFull(from, m[headerLen:])
	return m, err
}

func (m message) isOpMsg() bool { return len(m) > headerLen+4 && m.int32At(12) == opMsg }

// unanswered tells whether the client waits for no reply.
func (m message) unanswered() bool { return m.isOpMsg() && m.int32At(headerLen)&moreToCome != 0 }

// writing are the commands that change something. They only come as OP_MSG: the older OP_QUERY is
// for the first handshake.
var writing = map[string]bool{
	"insert": true, "update": true, "delete": true, "findAndModify": true, "findandmodify": true,
	"bulkWrite": true, "create": true, "createIndexes": true, "collMod": true, "compact": true,
	"drop": true, "dropDatabase": true, "dropIndexes": true, "renameCollection": true,
	"createUser": true, "updateUser": true, "dropUser": true, "dropAllUsersFromDatabase": true,
}

// writes looks at the command's name: the first key of the body, which is the section of kind 0.
// Sections of kind 1 (lists of documents) may stand before it; both begin with their size.
func (m message) writes() bool {
	if !m.isOpMsg() {
		return false
	}
	const kind, size, valueType = 1, 4, 1
	rest := m[headerLen+4:]
	for len(rest) > kind+size+valueType {
		if rest[0] == 0 {
			name, _, _ := bytes.Cut(rest[kind+size+valueType:], []byte{0})
			return writing[string(name)]
		}
		length := int(rest.int32At(kind))
		rest = rest[min(len(rest), kind+length):]
	}
	return false
}
