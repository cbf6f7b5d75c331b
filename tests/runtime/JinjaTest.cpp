//===- JinjaTest.cpp - what chat templates may not hold -------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Renderings are held against jinja2 in tokenizers/chat.py.

#include "runtime/data/jinja/Jinja.h"
#include <gtest/gtest.h>

using namespace r1c;
using namespace r1c::runtime;

namespace {

std::string render(const std::string &source) {
  try {
    return Jinja(source).render({{"text", "t"}, {"list", {1, 2}}});
  } catch (const Error &error) {
    return std::string("error: ") + error.what();
  }
}

TEST(Jinja, ErrorsNameTheLine) {
  const std::pair<const char *, const char *> cases[] = {
      {"a\n{{ text", "line 2: no }} closes this"},
      {"{% if text", "line 1: no %} closes this"},
      {"{# text", "line 1: a comment is not closed"},
      {"{{ (text }}", "line 1: '}' closes nothing"},
      {"{{ (text -}}", "line 1: a bracket is not closed"},
      {"{{ text) }}", "line 1: ')' closes nothing"},
      {"{{ 'text }}", "line 1: a text is not closed"},
      {"{{ '\\N{DASH}' }}", "line 1: the escape \\N is not known"},
      {"{{ '\\u12' }}", "line 1: an escape is not complete"},
      {"{{ '\\ud800' }}", "line 1: an escape is half a surrogate pair"},
      {"{{ text ? 1 }}", "line 1: '?' is not expected here"},
      {"{{ * }}", "line 1: '*' is not expected here"},
      {"{{ text text }}", "line 1: 'text' is not expected here"},
      {"{{ list[] }}", "line 1: an index is missing"},
      {"{{ list[1:2:3:4] }}", "line 1: a slice has at most three parts"},
      {"{{ list.0 }}",
       "line 1: an index after '.' is not known; it is written in [ ]"},
      {"{{ 1 < 2 < 3 }}", "line 1: a chain of comparisons is not known"},
      {"{{ f(a = 1, 2) }}", "line 1: a plain argument comes after a named one"},
      {"{{ {'a' 1} }}", "line 1: ':' is missing"},
      {"{% for 1 in list %}{% endfor %}", "line 1: a name is missing"},
      {"{% set a, b %}", "line 1: '=' is missing"},
      {"{% if text %}\n", "line 1: 'endif' is missing"},
      {"{% endif %}", "line 1: 'endif' closes nothing"},
      {"{% for x in list %}{% else %}{% else %}",
       "line 1: 'else' closes nothing"},
      {"{% include 'x' %}", "line 1: the block 'include' is not known"},
      {"{% for x in list %}{% break %}{% endfor %}",
       "line 1: 'break' is not known"},
      {"{% macro f() %}{% endmacro %}\n{{ f() }}",
       "line 2: the function 'f' is not known"},
      {"{{ list }}", "line 1: the text of a list is not known"},
      {"{{ none.x }}", "line 1: an element of none is not known"},
      {"{{ nothing.x }}",
       "line 1: an element of what is not defined is not known"},
      {"{{ 1[2:3] }}", "line 1: a slice of a number is not known"},
      {"{{ list['a':] }}", "line 1: a slice's bound is a text"},
      {"{{ list[::0] }}", "line 1: a slice's step is 0"},
      {"{% for x in 3 %}{% endfor %}",
       "line 1: a loop over the elements of a number is not known"},
      {"{% for x, y in list %}{% endfor %}",
       "line 1: 2 names are set to a number"},
      {"{% set text.x = 1 %}", "line 1: 'text' is no namespace"},
      {"{{ 1 in 2 }}", "line 1: 'in' a number is not known"},
      {"{{ 1 < 'a' }}", "line 1: '<' of a number and a text is not known"},
      {"{{ 'a' + 1 }}", "line 1: '+' of a text and a number is not known"},
      {"{{ 1 // 0 }}", "line 1: '//' of 1 and 0 is not known"},
      {"{{ 9223372036854775807 + 1 }}",
       "line 1: '+' of 9223372036854775807 and 1 is not known"},
      {"{{ 1 | length }}", "line 1: the length of a number is not known"},
      {"{{ text | tojson }}", "line 1: the filter 'tojson' is not known"},
      {"{{ text | join(a = 1) }}",
       "line 1: the named argument 'a' is not known"},
      {"{{ text is odd }}", "line 1: the test 'odd' is not known"},
      {"{{ text is odd(1) }}",
       "line 1: the test 'odd' with arguments is not known"},
      {"{{ text.title() }}",
       "line 1: the method 'title' of a text is not known"},
      {"{{ text.split() }}",
       "line 1: split is known with one text to split at"},
      {"{{ text.strip(1) }}", "line 1: strip takes one text"},
      {"{{ text.replace('') }}", "line 1: replace takes two texts"},
      {"{{ raise_exception('no') }}", "line 1: it refuses this: no"},
  };
  for (const auto &[source, message] : cases)
    EXPECT_EQ(render(source), std::string("error: ") + message) << source;
  // What is not known is no error where nothing comes to it.
  EXPECT_EQ(render("{% if not text %}{{ unknown() | odd }}{% endif %}a"), "a");
}

TEST(Jinja, DepthHasALimit) {
  std::string brackets(5000, '('), blocks;
  for (int i = 0; i < 5000; ++i)
    blocks += "{% if text %}";
  for (const std::string &source : {"{{ " + brackets, blocks})
    EXPECT_EQ(render(source).substr(0, 7), "error: ");
  std::string nots = "{{ ", sums = "{{ 1", elifs = "{% if no %}";
  for (int i = 0; i < 100000; ++i) {
    nots += "not ";
    sums += " + 1";
    elifs += "{% elif no %}";
  }
  EXPECT_EQ(render(nots + "text }}").substr(0, 7), "error: ");
  EXPECT_EQ(render(sums + " }}"),
            "error: line 1: more than 1000 words between two marks");
  EXPECT_EQ(render(elifs + "{% endif %}").substr(0, 7), "error: ");
}

} // namespace
