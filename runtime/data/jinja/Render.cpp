//===- Render.cpp - a template with its variables put in ------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/data/jinja/Jinja.h"
#include "runtime/data/jinja/Syntax.h"
#include "runtime/data/jinja/Values.h"
#include <map>

namespace r1c::runtime {

using namespace jinja;

namespace {

/// Runs `body`; an error that leaves it is told the line.
template <typename Body>
auto at(int line, Body body) {
  return within([&] { return concat("line ", line); }, body);
}

class Renderer {
public:
  explicit Renderer(const Json &variables) : scopes(1) {
    for (const auto &[name, value] : variables.items())
      scopes[0][name] = value;
  }

  std::string render(const std::vector<StatementPtr> &body) {
    std::string result;
    for (const StatementPtr &statement : body)
      result += render(*statement);
    return result;
  }

private:
  std::string render(const Statement &s) {
    switch (s.kind) {
    case Statement::text:
      return s.name;
    case Statement::block:
      return render(s.body);
    case Statement::print: {
      Json value = evaluate(*s.first);
      return at(s.line, [&] { return textOf(value); });
    }
    case Statement::choice:
      return render(isTrue(evaluate(*s.first)) ? s.body : s.otherwise);
    case Statement::loop:
      return loop(s);
    case Statement::set:
      set(s);
      return "";
    case Statement::unknown:
      break;
    }
    throw Error("line ", s.line, ": '", s.name, "' is not known");
  }

  std::string loop(const Statement &s) {
    std::vector<Json> elements;
    Json all = evaluate(*s.first);
    for (Json &element : at(s.line, [&] { return elementsOf(all); })) {
      if (s.second) {
        scopes.emplace_back();
        bind(s, element);
        bool wanted = isTrue(evaluate(*s.second));
        scopes.pop_back();
        if (!wanted)
          continue;
      }
      elements.push_back(std::move(element));
    }
    if (elements.empty())
      return render(s.otherwise);
    std::string result;
    auto count = static_cast<int64_t>(elements.size());
    for (int64_t i = 0; i < count; ++i) {
      scopes.emplace_back();
      bind(s, elements[i]);
      Json loop = {{"index", i + 1},
                   {"index0", i},
                   {"first", i == 0},
                   {"last", i + 1 == count},
                   {"length", count},
                   {"revindex", count - i},
                   {"revindex0", count - i - 1}};
      if (i > 0)
        loop["previtem"] = elements[i - 1];
      if (i + 1 < count)
        loop["nextitem"] = elements[i + 1];
      scopes.back()["loop"] = std::move(loop);
      result += render(s.body);
      scopes.pop_back();
    }
    return result;
  }

  void bind(const Statement &s, const Json &value) {
    if (s.names.size() == 1) {
      scopes.back()[s.names[0]] = value;
      return;
    }
    if (!value.is_array() || value.size() != s.names.size())
      throw Error("line ", s.line, ": ", s.names.size(), " names are set to ",
                  kindOf(value));
    for (size_t i = 0; i < s.names.size(); ++i)
      scopes.back()[s.names[i]] = value[i];
  }

  void set(const Statement &s) {
    Json value = s.first ? evaluate(*s.first) : Json(render(s.body));
    if (s.name.empty())
      return bind(s, value);
    Json *space = find(s.names[0]);
    if (!space || !space->is_object())
      throw Error("line ", s.line, ": '", s.names[0], "' is no namespace");
    (*space)[s.name] = std::move(value);
  }

  Json *find(const std::string &name) {
    for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope)
      if (auto found = scope->find(name); found != scope->end())
        return &found->second;
    return nullptr;
  }

  Json evaluate(const Expression &e) {
    auto child = [&](size_t i) { return evaluate(*e.children[i]); };
    switch (e.kind) {
    case Expression::literal:
      return e.value;
    case Expression::variable: {
      Json *found = find(e.name);
      return found ? *found : undefined();
    }
    case Expression::attribute: {
      Json base = child(0);
      return at(e.line, [&] { return elementAt(base, e.name); });
    }
    case Expression::index: {
      Json base = child(0), index = child(1);
      return at(e.line, [&] { return elementAt(base, index); });
    }
    case Expression::slice: {
      auto part = [&](size_t i) {
        return e.children[i] ? child(i) : Json(nullptr);
      };
      Json base = child(0), from = part(1), to = part(2), step = part(3);
      return at(e.line, [&] { return sliceOf(base, from, to, step); });
    }
    case Expression::call:
      return call(e);
    case Expression::filter:
    case Expression::test: {
      Json value = child(0);
      std::vector<Json> arguments = argumentsOf(e, 1);
      return at(e.line, [&] {
        return e.kind == Expression::filter
                   ? applyFilter(e.name, value, arguments)
                   : Json(applyTest(e.name, value, arguments));
      });
    }
    case Expression::unary: {
      Json value = child(0);
      if (e.name == "not")
        return !isTrue(value);
      return at(e.line, [&] { return arithmetic("-", 0, value); });
    }
    case Expression::binary:
      return binary(e);
    case Expression::choice:
      if (isTrue(child(1)))
        return child(0);
      return e.children[2] ? child(2) : undefined();
    case Expression::list: {
      Json result = Json::array();
      for (size_t i = 0; i < e.children.size(); ++i)
        result.push_back(child(i));
      return result;
    }
    case Expression::dictionary: {
      Json result = Json::object();
      for (size_t i = 0; i + 1 < e.children.size(); i += 2)
        result[at(e.line, [&] { return textOf(child(i)); })] = child(i + 1);
      return result;
    }
    }
    return undefined();
  }

  Json binary(const Expression &e) {
    Json left = evaluate(*e.children[0]);
    if (e.name == "and")
      return isTrue(left) ? evaluate(*e.children[1]) : left;
    if (e.name == "or")
      return isTrue(left) ? left : evaluate(*e.children[1]);
    Json right = evaluate(*e.children[1]);
    return at(e.line, [&]() -> Json {
      if (e.name == "==" || e.name == "!=")
        return equal(left, right) == (e.name == "==");
      if (e.name == "in" || e.name == "not in")
        return contains(right, left) == (e.name == "in");
      if (e.name[0] == '<' || e.name[0] == '>')
        return ordered(e.name, left, right);
      return arithmetic(e.name, left, right);
    });
  }

  std::vector<Json> argumentsOf(const Expression &e, size_t from) {
    if (!e.keys.empty())
      throw Error("line ", e.line, ": the named argument '", e.keys[0],
                  "' is not known");
    std::vector<Json> result;
    for (size_t i = from; i < e.children.size(); ++i)
      result.push_back(evaluate(*e.children[i]));
    return result;
  }

  Json call(const Expression &e) {
    const Expression &callee = *e.children[0];
    if (callee.kind == Expression::attribute) {
      Json base = evaluate(*callee.children[0]);
      std::vector<Json> arguments = argumentsOf(e, 1);
      return at(e.line,
                [&] { return callMethod(base, callee.name, arguments); });
    }
    const std::string &name = callee.name;
    bool isName = callee.kind == Expression::variable;
    if (isName && name == "namespace" &&
        e.keys.size() + 1 == e.children.size()) {
      Json result = Json::object();
      for (size_t i = 0; i < e.keys.size(); ++i)
        result[e.keys[i]] = evaluate(*e.children[i + 1]);
      return result;
    }
    std::vector<Json> arguments = argumentsOf(e, 1);
    if (isName && name == "raise_exception" && arguments.size() == 1)
      throw Error("line ", e.line, ": it refuses this: ", at(e.line, [&] {
                    return textOf(arguments[0]);
                  }));
    if (isName && name == "strftime_now")
      throw Error("line ", e.line,
                  ": it writes today's date, with which no run could be "
                  "repeated; write the prompt as a plain template");
    throw Error("line ", e.line, ": the function '", isName ? name : "",
                "' is not known");
  }

  std::vector<std::map<std::string, Json>> scopes;
};

} // namespace

Jinja::Jinja(const std::string &source) : root(parse(source)) {}
Jinja::~Jinja() = default;

std::string Jinja::render(const Json &variables) const {
  return Renderer(variables).render(root->body);
}

} // namespace r1c::runtime
