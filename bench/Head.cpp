//===- Head.cpp - the head of a model, forward, loss and backward ---------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// bench_head [f32|bf16] [ROWS] [HIDDEN] [VOCABULARY] [THREADS] [CALLS]
//
// The functions `.head.stored` and `.head.backward.logp.stored` of a model,
// through differentiate and fuse to kernels; between them GRPO's clipped ratio
// with the gradient of each log-probability, as a kernel too; slice by slice of
// the rows, as an update runs them (Capacities.h). Prints the
// seconds of each call, then as `extra` how far memory rose in a first call
// above its inputs and results: intermediate values are allocated when they are
// made and freed behind their last use there, and kept for the calls that are
// timed.
//===----------------------------------------------------------------------===//

#include "bench/Kernels.h"
#include "compiler/phases/NetworkPasses.h"
#include "compiler/phases/expand/Model.h"
#include "compiler/phases/schedule/Capacities.h"
#include "compiler/tools/CompiledModel.h"
#include "mlir/Pass/PassManager.h"
#include "runtime/device/cpu/ThreadPool.h"
#include "llvm/ADT/TypeSwitch.h"
#include <chrono>
#include <cstdio>
#include <fstream>

using namespace mlir;
using namespace r1c;

namespace {

using bench::allocate, bench::Buffer;

struct Shape {
  bool bf16 = false;
  int64_t rows = 512, hidden = 576, vocabulary = 49152;
};

const char *lossText = R"(
func.func @loss(%lp: tensor<?xf32>, %old: tensor<?xf32>, %a: tensor<?xf32>, %n: tensor<f32>) -> (tensor<?xf32>, tensor<?xf32>) attributes {kern.kernel} {
  %0:2 = kern.map (%l = %lp : element tensor<?xf32>, %o = %old : element tensor<?xf32>, %adv = %a : element tensor<?xf32>, %count = %n : one tensor<f32>) -> (element tensor<?xf32>, element tensor<?xf32>) {
    %low = arith.constant 0.8 : f32
    %high = arith.constant 1.2 : f32
    %zero = arith.constant 0.0 : f32
    %d = arith.subf %l, %o : f32
    %ratio = math.exp %d : f32
    %up = arith.minimumf %ratio, %high : f32
    %clipped = arith.maximumf %up, %low : f32
    %plain = arith.mulf %ratio, %adv : f32
    %bounded = arith.mulf %clipped, %adv : f32
    %gain = arith.minimumf %plain, %bounded : f32
    %active = arith.cmpf ole, %plain, %bounded : f32
    %chosen = arith.select %active, %plain, %zero : f32
    %negative = arith.negf %chosen : f32
    %seed = arith.divf %negative, %count : f32
    kern.yield %gain, %seed : f32, f32
  }
  return %0#0, %0#1 : tensor<?xf32>, tensor<?xf32>
})";

/// Bytes of a tensor or packed value of `rows` rows.
size_t bytesOf(Type type, int64_t rows) {
  if (auto packed = dyn_cast<kern::PackedType>(type))
    return llvm::alignTo(packed.getN(), 32) * packed.getK() *
           packed.getElementType().getIntOrFloatBitWidth() / 8;
  auto tensor = cast<RankedTensorType>(type);
  size_t count = 1;
  for (int64_t size : tensor.getShape())
    count *= ShapedType::isDynamic(size) ? rows : size;
  return count * llvm::divideCeil(tensor.getElementTypeBitWidth(), 8);
}

/// `bytes` of numbers, others at each call.
Buffer randoms(size_t bytes, bool bf16, float width) {
  static unsigned seed = 0;
  return bench::normals(bytes / (bf16 ? 2 : 4), bf16, width, ++seed);
}

/// Kilobytes by a name of /proc/self/status.
double status(const std::string &name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.compare(0, name.size(), name) == 0)
      return std::stod(line.substr(name.size() + 1)) * 1024;
  return 0;
}

/// One function of the model, op by op.
class Function {
public:
  Function(func::FuncOp func, int64_t rows) : func(func), rows(rows) {
    for (Operation &op : func.getBody().front().without_terminator())
      if (isKernelOp(&op)) {
        std::string name = "k" + std::to_string(calls.size());
        OwningOpRef<ModuleOp> module = outlineKernel(&op, name);
        std::string text;
        llvm::raw_string_ostream os(text);
        module->print(os);
        calls.push_back({&op, bench::compile(text, name)});
      }
    for (Value result : func.getBody().front().getTerminator()->getOperands())
      kept.insert(result);
  }

  /// `ofSlice`: one number a row of which a slice has its part.
  void set(Value value, Buffer buffer, bool ofSlice = false) {
    memory[value] = buffer;
    if (ofSlice)
      sliced.insert(value);
  }
  Buffer get(Value value) { return memory[value]; }

  /// `release`: values that nothing reads any more give their memory back.
  void run(runtime::ThreadPool &pool, int64_t first, int64_t size,
           bool release) {
    auto start = [&](Value value) {
      char *all = static_cast<char *>(memory[value].get());
      return sliced.contains(value) ? all + first * 4 : all;
    };
    for (auto &[op, kernel] : calls) {
      std::vector<void *> args;
      auto inits = kernelInits(op);
      for (Value argument : kernelArguments(op)) {
        auto init = inits.find(argument);
        if (init == inits.end())
          args.push_back(start(argument));
        else
          memory[op->getResult(init->second)] = memory[argument];
      }
      for (Value result : op->getResults()) {
        Buffer &buffer = memory[result];
        if (!buffer)
          buffer = allocate(bytesOf(result.getType(), rows));
        args.push_back(start(result));
      }
      args.push_back(&size);
      pool.run(kernel, args.data());
      if (release)
        for (Value operand : op->getOperands())
          if (operand.getDefiningOp() && !kept.contains(operand) &&
              llvm::all_of(operand.getUsers(), [op = op](Operation *user) {
                return user == op || user->isBeforeInBlock(op);
              }))
            memory[operand] = nullptr;
    }
  }

  func::FuncOp func;

private:
  int64_t rows;
  std::vector<std::pair<Operation *, bench::Kernel>> calls;
  llvm::DenseMap<Value, Buffer> memory;
  llvm::DenseSet<Value> kept, sliced;
};

/// The value with a role, and what else says which: an argument or a result.
Value find(func::FuncOp func, StringRef role, StringRef of, bool result) {
  unsigned count = result ? func.getNumResults() : func.getNumArguments();
  for (unsigned i = 0; i < count; ++i) {
    auto text = [&](StringRef name) {
      auto attribute = result ? func.getResultAttrOfType<StringAttr>(i, name)
                              : func.getArgAttrOfType<StringAttr>(i, name);
      return attribute ? attribute.getValue() : "";
    };
    if (text("r1c.role") == role &&
        (of.empty() || of == text("r1c.of") || of == text("r1c.name")))
      return result ? func.getBody().front().getTerminator()->getOperand(i)
                    : Value(func.getArgument(i));
  }
  std::fprintf(stderr, "bench: %s has no '%s'\n", func.getName().str().c_str(),
               role.str().c_str());
  std::exit(1);
}

} // namespace

int main(int argc, char **argv) {
  Shape s;
  auto number = [&](int i, int64_t otherwise) {
    return argc > i ? std::atoll(argv[i]) : otherwise;
  };
  s.bf16 = argc > 1 && StringRef(argv[1]) == "bf16";
  s.rows = number(2, s.rows), s.hidden = number(3, s.hidden);
  s.vocabulary = number(4, s.vocabulary);
  int64_t threads = number(5, runtime::ThreadPool::defaultSize()),
          repeats = number(6, 10);

  DialectRegistry registry;
  registry
      .insert<lm::LMDialect, kern::KernDialect, func::FuncDialect,
              arith::ArithDialect, math::MathDialect, tensor::TensorDialect>();
  MLIRContext context(registry);
  context.loadAllAvailableDialects();
  ModelConfig config;
  config.layers = 1, config.heads = config.kvHeads = s.hidden / 64;
  config.headDim = 64, config.hidden = s.hidden, config.context = s.rows;
  config.intermediate = 64, config.vocabulary = s.vocabulary;
  config.bf16 = s.bf16;
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
  expandModel(*module, "m", config, module->getLoc());
  PassManager pm(&context);
  pm.addPass(createLMDifferentiatePass());
  pm.addPass(createLMToKernPass());
  if (failed(pm.run(*module)))
    return 1;
  const int64_t most = std::min(
      schedule::headRows(schedule::Capacities(*module), s.vocabulary, s.bf16),
      s.rows);
  Function forward(module->lookupSymbol<func::FuncOp>("m.head.stored"), most),
      backward(
          module->lookupSymbol<func::FuncOp>("m.head.backward.logp.stored"),
          most);
  bench::Kernel loss = bench::compile(lossText, "loss");

  // Inputs that both functions name are the same buffers.
  std::map<std::string, Buffer> inputs;
  for (Function *function : {&forward, &backward})
    for (BlockArgument argument : function->func.getArguments()) {
      auto role = function->func.getArgAttrOfType<StringAttr>(
          argument.getArgNumber(), "r1c.role");
      std::string key = role.str();
      if (key == "packed" || key == "parameter" || key == "parameter_gradient")
        key += " " + std::to_string(argument.getArgNumber()) +
               function->func.getName().str();
      size_t bytes = bytesOf(argument.getType(), s.rows);
      Type element =
          isa<kern::PackedType>(argument.getType())
              ? cast<kern::PackedType>(argument.getType()).getElementType()
              : cast<RankedTensorType>(argument.getType()).getElementType();
      Buffer &buffer = inputs[key];
      if (!buffer && element.isInteger()) {
        buffer = allocate(bytes);
        for (int64_t i = 0; i < s.rows; ++i)
          static_cast<int32_t *>(buffer.get())[i] =
              key == "rows" || key == "logit_rows" ? i : i * 97 % s.vocabulary;
      } else if (!buffer) {
        buffer =
            randoms(bytes, element.isBF16(), key == "activation" ? 1 : 0.1);
        if (key == "temperature")
          *static_cast<float *>(buffer.get()) = 1;
      }
      function->set(argument, buffer, key == "rows" || key == "targets");
    }
  for (StringRef name : {"logp", "lse"}) {
    Value value = find(forward.func, name, "", true);
    forward.set(value, inputs[name.str()] = allocate(s.rows * 4), true);
    std::memset(inputs[name.str()].get(), 0, s.rows * 4);
  }
  Buffer old = randoms(s.rows * 4, false, 0.1),
         advantage = randoms(s.rows * 4, false, 1),
         gain = randoms(s.rows * 4, false, 1),
         seed = randoms(s.rows * 4, false, 1);
  float count = s.rows;
  backward.set(find(backward.func, "saved", "lse", false), inputs["lse"], true);
  backward.set(find(backward.func, "gradient", "logp", false), seed, true);
  Value logits = find(forward.func, "saved", "logits", true),
        taken = find(backward.func, "saved", "logits", false);

  runtime::ThreadPool pool(threads);
  auto step = [&](bool release) {
    for (int64_t first = 0; first < s.rows; first += most) {
      int64_t size = std::min(most, s.rows - first);
      forward.run(pool, first, size, release);
      auto part = [&](const Buffer &buffer) -> void * {
        return static_cast<float *>(buffer.get()) + first;
      };
      void *lossArgs[] = {
          part(inputs["logp"]), part(old), part(advantage), &count, part(gain),
          part(seed),           &size};
      pool.run(loss, lossArgs);
      backward.set(taken, forward.get(logits));
      backward.run(pool, first, size, release);
    }
  };
  // The next high-water mark starts here.
  std::ofstream("/proc/self/clear_refs") << "5";
  double before = status("VmRSS:");
  step(true);
  double extra = status("VmHWM:") - before;
  step(false);
  std::printf("{\"seconds\": [");
  for (int64_t i = 0; i < repeats; ++i) {
    auto start = std::chrono::steady_clock::now();
    step(false);
    std::chrono::duration<double> took =
        std::chrono::steady_clock::now() - start;
    std::printf("%s%.6f", i ? ", " : "", took.count());
  }
  std::printf("], \"extra\": %.0f}\n", extra);
  return 0;
}
