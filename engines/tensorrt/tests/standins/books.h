// The stand-in's books: every call, every object, and what is to fail.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace
{

struct Books
{
    std::vector<std::string> calls;
    std::map<std::string, int> seen;     // calls by name since the last reset
    std::map<std::string, int> failures; // which call of a name fails, counted from 1
    std::map<std::string, int> live;     // objects by kind
    std::map<std::string, int> settings;
};

Books books;

// Writes a call down; whether it is to fail.
bool fails(std::string const& name)
{
    books.calls.push_back(name);
    auto const found = books.failures.find(name);
    return ++books.seen[name] == (found == books.failures.end() ? 0 : found->second);
}

void born(char const* kind)
{
    ++books.live[kind];
}

void died(char const* kind)
{
    books.calls.push_back(std::string("~") + kind);
    if (--books.live[kind] < 0)
        std::fprintf(stderr, "stand-in: %s destroyed twice\n", kind), std::abort();
}

int setting(char const* name, int otherwise)
{
    auto const found = books.settings.find(name);
    return found == books.settings.end() ? otherwise : found->second;
}

} // namespace

EXPORT void standin_reset()
{
    books.calls.clear();
    books.seen.clear();
    books.failures.clear();
    books.settings.clear();
}

EXPORT void standin_fail(char const* call, int nth)
{
    books.failures[call] = nth;
    books.seen.erase(call);
}

EXPORT void standin_set(char const* name, int value)
{
    books.settings[name] = value;
}

// Calls since the last reset, one a line; valid until the next call.
EXPORT char const* standin_calls()
{
    static std::string text;
    text.clear();
    for (auto const& call : books.calls)
        text += call + "\n";
    return text.c_str();
}

// Objects that live, one kind a line.
EXPORT char const* standin_live()
{
    static std::string text;
    text.clear();
    for (auto const& [kind, count] : books.live)
        if (count != 0)
            text += kind + " " + std::to_string(count) + "\n";
    return text.c_str();
}
