// rendezvous.h - how the processes of peers.h find each other.
#pragma once
#include <string>
#include <vector>

#include "util/check.h"       // defines: Exit
#include "util/connection.h"  // defines: Connection
#include "util/peers.h"       // defines: Rank

// What goes over the connections, once they are there: words are empty but where a line says what they are.
enum Say : uint32_t {
    HELLO,     // who one is, and of which run
    WELCOME,   // the names of all
    ALIVE,     //
    WORD,      // a letter for the kind of call, and what one has to say
    ANSWER,    // all have said their word: what comes of it
    SIGNAL,    // its number
    DEATH,     // of the sender: code and message
    LAST,      // all are to end: code
    GOODBYE,   //
};

struct Peer {
    std::string host;
    std::string pid;
    Connection connection;  // process 0 has one to each other; each other to process 0
};

// All processes, by rank. Dies with Exit::Device when they have not found each other within the time.
std::vector<Peer> meet(const Rank& rank, double seconds);

// An error's code and message as words, and back.
std::string death_words(Exit code, const std::string& message);
Exit death_code(const std::string& words);
std::string death_message(const std::string& words);
