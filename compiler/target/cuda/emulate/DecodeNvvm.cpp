//===- DecodeNvvm.cpp - ops of the NVVM dialect ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/target/cuda/emulate/Decoder.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace r1c::cuda::emulate;

void FunctionDecoder::predicate(Value value, Operation *op) {
  if (!value)
    return;
  uint32_t condition = slot(value);
  emit(Opcode::Predicate, op).a = condition;
}

static std::optional<Register> registerOf(StringRef name) {
  return llvm::StringSwitch<std::optional<Register>>(name)
      .Case("laneid", Register::LaneId)
      .Case("warpsize", Register::WarpSize)
      .Case("warpid", Register::WarpId)
      .Case("nwarpid", Register::WarpCount)
      .Case("tid.x", Register::ThreadX)
      .Case("ntid.x", Register::ThreadsX)
      .Case("ctaid.x", Register::BlockX)
      .Case("nctaid.x", Register::BlocksX)
      .Cases({"tid.y", "tid.z", "ctaid.y", "ctaid.z"}, Register::Zero)
      .Cases(
          {"clusterid.y", "clusterid.z", "cluster.ctaid.y", "cluster.ctaid.z"},
          Register::Zero)
      .Cases({"ntid.y", "ntid.z", "nctaid.y", "nctaid.z"}, Register::One)
      .Cases({"nclusterid.y", "nclusterid.z", "cluster.nctaid.y",
              "cluster.nctaid.z"},
             Register::One)
      .Case("clusterid.x", Register::ClusterX)
      .Case("nclusterid.x", Register::ClustersX)
      .Cases({"cluster.ctaid.x", "cluster.ctarank"}, Register::BlockInCluster)
      .Cases({"cluster.nctaid.x", "cluster.nctarank"}, Register::ClusterSize)
      .Case("lanemask.eq", Register::MaskEqual)
      .Case("lanemask.le", Register::MaskLessEqual)
      .Case("lanemask.lt", Register::MaskLess)
      .Case("lanemask.ge", Register::MaskGreaterEqual)
      .Case("lanemask.gt", Register::MaskGreater)
      .Cases({"clock", "clock64", "globaltimer", "globaltimer.lo"},
             Register::Clock)
      .Case("dynamic.smem.size", Register::DynamicShared)
      .Case("total.smem.size", Register::TotalShared)
      .Default(std::nullopt);
}

bool FunctionDecoder::decodeWarp(Operation *op) {
  return llvm::TypeSwitch<Operation *, bool>(op)
      .Case([&](NVVM::ShflOp shuffle) {
        uint32_t a = slot(shuffle.getThreadMask()), b = slot(shuffle.getVal()),
                 c = slot(shuffle.getOffset()),
                 d = slot(shuffle.getMaskAndClamp());
        Instruction &i = emitResult(Opcode::Shuffle32, op, shuffle.getRes());
        i.a = a, i.b = b, i.c = c, i.d = d;
        i.kind = uint8_t(shuffle.getKind());
        return true;
      })
      .Case([&](NVVM::VoteSyncOp vote) {
        uint32_t a = slot(vote.getMask()), b = slot(vote.getPred());
        Instruction &i = emitResult(Opcode::Vote, op, vote.getRes());
        i.a = a, i.b = b;
        i.kind = uint8_t(vote.getKind());
        return true;
      })
      .Case([&](NVVM::SyncWarpOp sync) {
        uint32_t a = slot(sync.getMask());
        emit(Opcode::WarpSync, op).a = a;
        return true;
      })
      .Case([&](NVVM::ElectSyncOp elect) {
        uint32_t a = elect.getMembermask() ? slot(elect.getMembermask())
                                           : constant(0xffffffff);
        emitResult(Opcode::Elect, op, elect.getPred()).a = a;
        return true;
      })
      .Case([&](NVVM::ReduxOp redux) {
        if (!redux.getVal().getType().isInteger(32))
          return false;
        uint32_t a = slot(redux.getMaskAndClamp()), b = slot(redux.getVal());
        Instruction &i = emitResult(Opcode::Redux, op, redux.getRes());
        i.a = a, i.b = b;
        i.kind = uint8_t(redux.getKind());
        return true;
      })
      .Case([&](NVVM::MatchSyncOp match) {
        uint32_t a = slot(match.getThreadMask()), b = slot(match.getVal());
        Instruction &i = emitResult(Opcode::Match, op, match.getRes());
        i.a = a, i.b = b;
        i.kind = uint8_t(match.getKind());
        return true;
      })
      .Case([&](NVVM::LdMatrixOp load) {
        if (load.getEltType() != NVVM::LdStMatrixEltType::B16)
          return false;
        uint32_t a = slot(load.getPtr());
        Instruction &i = emitResult(Opcode::LoadMatrix, op, load.getRes());
        i.a = a;
        i.lanes = load.getNum();
        i.kind = load.getLayout() == NVVM::MMALayout::col;
        return true;
      })
      .Case([&](NVVM::StMatrixOp store) {
        if (store.getEltType() != NVVM::LdStMatrixEltType::B16)
          return false;
        std::vector<uint32_t> table;
        for (Value source : store.getSources())
          table.push_back(slot(source));
        uint32_t a = slot(store.getPtr());
        Instruction &i = emit(Opcode::StoreMatrix, op);
        i.a = a;
        i.lanes = table.size();
        i.kind = store.getLayout() == NVVM::MMALayout::col;
        function.tables.push_back(std::move(table));
        i.extra = function.tables.size() - 1;
        return true;
      })
      .Default([](Operation *) { return false; });
}

bool FunctionDecoder::decodeMbarrier(Operation *op) {
  auto make = [&](Opcode code, Value address, Value operand, Value result,
                  int64_t flags = 0) -> Instruction & {
    uint32_t a = slot(address), b = optionalSlot(operand),
             dst = optionalSlot(result);
    Instruction &i = emit(code, op);
    i.a = a, i.b = b, i.dst = dst;
    i.results = result ? 1 : 0;
    i.kind = spaceOf(address.getType());
    i.imm = flags;
    return i;
  };
  // imm: bit 0 drop, 1 relaxed, 2 without completion (of an arrival).
  return llvm::TypeSwitch<Operation *, bool>(op)
      .Case([&](NVVM::MBarrierInitOp init) {
        slot(init.getAddr()), slot(init.getCount());
        predicate(init.getPredicate(), op);
        make(Opcode::MbarInit, init.getAddr(), init.getCount(), {});
        return true;
      })
      .Case([&](NVVM::MBarrierInvalOp inval) {
        make(Opcode::MbarInval, inval.getAddr(), {}, {});
        return true;
      })
      .Case([&](NVVM::MBarrierExpectTxOp expect) {
        make(Opcode::MbarExpect, expect.getAddr(), expect.getTxcount(), {});
        return true;
      })
      .Case([&](NVVM::MBarrierCompleteTxOp complete) {
        make(Opcode::MbarComplete, complete.getAddr(), complete.getTxcount(),
             {});
        return true;
      })
      .Case([&](NVVM::MBarrierArriveOp arrive) {
        make(Opcode::MbarArrive, arrive.getAddr(), arrive.getCount(),
             arrive.getRes(), arrive.getRelaxed() ? 2 : 0);
        return true;
      })
      .Case([&](NVVM::MBarrierArriveDropOp arrive) {
        make(Opcode::MbarArrive, arrive.getAddr(), arrive.getCount(),
             arrive.getRes(), 1 | (arrive.getRelaxed() ? 2 : 0));
        return true;
      })
      .Case([&](NVVM::MBarrierArriveNocompleteOp arrive) {
        make(Opcode::MbarArrive, arrive.getAddr(), arrive.getCount(),
             arrive.getRes(), 4);
        return true;
      })
      .Case([&](NVVM::MBarrierArriveDropNocompleteOp arrive) {
        make(Opcode::MbarArrive, arrive.getAddr(), arrive.getCount(),
             arrive.getRes(), 5);
        return true;
      })
      .Case([&](NVVM::MBarrierArriveExpectTxOp arrive) {
        slot(arrive.getAddr()), slot(arrive.getTxcount());
        predicate(arrive.getPredicate(), op);
        make(Opcode::MbarExpect, arrive.getAddr(), arrive.getTxcount(),
             arrive.getRes(), 4 | (arrive.getRelaxed() ? 2 : 0));
        return true;
      })
      .Case([&](NVVM::MBarrierArriveDropExpectTxOp arrive) {
        make(Opcode::MbarExpect, arrive.getAddr(), arrive.getTxcount(),
             arrive.getRes(), 12 | (arrive.getRelaxed() ? 2 : 0));
        return true;
      })
      .Case([&](NVVM::MBarrierTryWaitParityOp wait) {
        make(Opcode::MbarWait, wait.getAddr(), wait.getPhase(), {});
        return true;
      })
      .Case([&](NVVM::MBarrierTestWaitOp wait) {
        make(Opcode::MbarWait, wait.getAddr(), wait.getStateOrPhase(),
             wait.getRes(),
             2 | (wait.getStateOrPhase().getType().isInteger(64) ? 1 : 0));
        return true;
      })
      .Case([&](NVVM::MBarrierTryWaitOp wait) {
        make(Opcode::MbarWait, wait.getAddr(), wait.getStateOrPhase(),
             wait.getRes(),
             wait.getStateOrPhase().getType().isInteger(64) ? 1 : 0);
        return true;
      })
      .Case([&](NVVM::CpAsyncMBarrierArriveOp arrive) {
        make(Opcode::CpAsyncArrive, arrive.getAddr(), {}, {},
             arrive.getNoinc() ? 1 : 0);
        return true;
      })
      .Default([](Operation *) { return false; });
}

bool FunctionDecoder::decodeAsync(Operation *op) {
  auto coordinates = [&](OperandRange values) {
    std::vector<uint32_t> table;
    for (Value value : values)
      table.push_back(slot(value));
    function.tables.push_back(std::move(table));
    return uint32_t(function.tables.size() - 1);
  };
  return llvm::TypeSwitch<Operation *, bool>(op)
      .Case([&](NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp load) {
        if (load.getMode() != NVVM::TMALoadMode::TILE ||
            !load.getIm2colOffsets().empty() || load.getGroup())
          return false;
        uint32_t a = slot(load.getDstMem()), b = slot(load.getTmaDescriptor()),
                 c = slot(load.getMbar()),
                 d = optionalSlot(load.getMulticastMask());
        uint32_t table = coordinates(load.getCoordinates());
        predicate(load.getPredicate(), op);
        Instruction &i = emit(Opcode::BulkTensorLoad, op);
        i.a = a, i.b = b, i.c = c, i.d = d;
        i.extra = table;
        i.kind = spaceOf(load.getDstMem().getType());
        i.width = spaceOf(load.getMbar().getType());
        return true;
      })
      .Case([&](NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp store) {
        if (store.getMode() != NVVM::TMAStoreMode::TILE)
          return false;
        uint32_t a = slot(store.getTmaDescriptor()),
                 b = slot(store.getSrcMem());
        uint32_t table = coordinates(store.getCoordinates());
        predicate(store.getPredicate(), op);
        Instruction &i = emit(Opcode::BulkTensorStore, op);
        i.a = a, i.b = b;
        i.extra = table;
        i.kind = spaceOf(store.getSrcMem().getType());
        return true;
      })
      .Case([&](NVVM::CpAsyncBulkGlobalToSharedClusterOp load) {
        uint32_t a = slot(load.getDstMem()), b = slot(load.getSrcMem()),
                 c = slot(load.getMbar()), size = slot(load.getSize()),
                 d = optionalSlot(load.getMulticastMask());
        Instruction &i = emit(Opcode::BulkLoad, op);
        i.a = a, i.b = b, i.c = c, i.d = d;
        i.extra = size;
        i.kind = spaceOf(load.getDstMem().getType());
        i.width = spaceOf(load.getMbar().getType());
        return true;
      })
      .Case([&](NVVM::CpAsyncBulkSharedCTAToGlobalOp store) {
        if (store.getByteMask())
          return false;
        uint32_t a = slot(store.getDstMem()), b = slot(store.getSrcMem()),
                 c = slot(store.getSize());
        Instruction &i = emit(Opcode::BulkStore, op);
        i.a = a, i.b = b, i.c = c;
        i.kind = spaceOf(store.getSrcMem().getType());
        return true;
      })
      .Case([&](NVVM::CpAsyncBulkCommitGroupOp) {
        emit(Opcode::BulkCommit, op);
        return true;
      })
      .Case([&](NVVM::CpAsyncBulkWaitGroupOp wait) {
        Instruction &i = emit(Opcode::BulkWait, op);
        i.imm = wait.getGroup();
        i.kind = wait.getRead().value_or(false);
        return true;
      })
      .Case([&](NVVM::CpAsyncOp copy) {
        uint32_t a = slot(copy.getDst()), b = slot(copy.getSrc()),
                 c = optionalSlot(copy.getCpSize());
        Instruction &i = emit(Opcode::CpAsync, op);
        i.a = a, i.b = b, i.c = c;
        i.imm = copy.getSize();
        return true;
      })
      .Case([&](NVVM::CpAsyncCommitGroupOp) {
        emit(Opcode::CpAsyncCommit, op);
        return true;
      })
      .Case([&](NVVM::CpAsyncWaitGroupOp wait) {
        emit(Opcode::CpAsyncWait, op).imm = wait.getN();
        return true;
      })
      .Case([&](NVVM::MapaOp mapa) {
        uint32_t a = slot(mapa.getA()), b = slot(mapa.getB());
        Instruction &i = emitResult(Opcode::Mapa, op, mapa.getRes());
        i.a = a, i.b = b;
        return true;
      })
      .Case([&](NVVM::CpAsyncBulkPrefetchOp prefetch) {
        uint32_t a = slot(prefetch.getSrcMem()), b = slot(prefetch.getSize());
        Instruction &i = emit(Opcode::BulkPrefetch, op);
        i.a = a, i.b = b;
        return true;
      })
      .Case<NVVM::PrefetchOp, NVVM::CpAsyncBulkTensorPrefetchOp>(
          [](auto) { return true; })
      .Case([&](NVVM::GriddepcontrolOp control) {
        if (control.getKind() == NVVM::GridDepActionKind::wait)
          emit(Opcode::GridWait, op);
        return true;
      })
      .Default([](Operation *) { return false; });
}

bool FunctionDecoder::decodeWgmma(NVVM::WgmmaMmaAsyncOp op) {
  if (op.getTypeA() != NVVM::WGMMATypes::bf16 ||
      op.getTypeB() != NVVM::WGMMATypes::bf16 ||
      op.getTypeD() != NVVM::WGMMATypes::f32 || op.getShape().getM() != 64 ||
      op.getShape().getK() != 16)
    return false;
  WgmmaSite site;
  site.n = op.getShape().getN();
  site.accumulators = slot(op.getInouts());
  site.result = slot(op.getResults());
  site.descriptorA = slot(op.getDescriptorA());
  site.descriptorB = slot(op.getDescriptorB());
  site.accumulate = op.getScaleD() == NVVM::WGMMAScaleOut::one;
  site.scaleA = op.getScaleA() == NVVM::WGMMAScaleIn::one ? 1 : -1;
  site.scaleB = op.getScaleB() == NVVM::WGMMAScaleIn::one ? 1 : -1;
  site.transposeA = op.getLayoutA() == NVVM::MMALayout::col;
  site.transposeB = op.getLayoutB() == NVVM::MMALayout::row;
  if (slotsOf(op.getResults().getType()) != site.n / 2)
    return false;
  function.wgmmas.push_back(std::move(site));
  emit(Opcode::Wgmma, op).extra = function.wgmmas.size() - 1;
  return true;
}

bool FunctionDecoder::decodeNvvm(Operation *op) {
  StringRef name = op->getName().stripDialect();
  if (name.consume_front("read.ptx.sreg.")) {
    auto which = registerOf(name);
    if (!which)
      return false;
    emitResult(Opcode::Special, op, op->getResult(0)).kind = uint8_t(*which);
    return true;
  }
  auto fence = [&](FenceKind kind) {
    emit(Opcode::Fence, op).kind = uint8_t(kind);
    return true;
  };
  bool done =
      llvm::TypeSwitch<Operation *, bool>(op)
          .Case([&](NVVM::Barrier0Op) {
            emit(Opcode::Barrier, op);
            return true;
          })
          .Case([&](NVVM::BarrierOp barrier) {
            uint32_t a = optionalSlot(barrier.getBarrierId()),
                     b = optionalSlot(barrier.getNumberOfThreads()),
                     c = optionalSlot(barrier.getReductionPredicate());
            uint32_t dst = optionalSlot(barrier.getRes());
            Instruction &i = emit(Opcode::Barrier, op);
            i.a = a, i.b = b, i.c = c, i.dst = dst;
            i.results = barrier.getRes() ? 1 : 0;
            if (auto kind = barrier.getReductionOp())
              i.kind = *kind == NVVM::BarrierReduction::POPC  ? 1
                       : *kind == NVVM::BarrierReduction::AND ? 2
                                                              : 3;
            return true;
          })
          .Case([&](NVVM::BarrierArriveOp barrier) {
            uint32_t a = optionalSlot(barrier.getBarrierId()),
                     b = slot(barrier.getNumberOfThreads());
            Instruction &i = emit(Opcode::BarrierArrive, op);
            i.a = a, i.b = b;
            return true;
          })
          .Case<NVVM::ClusterArriveOp, NVVM::ClusterArriveRelaxedOp>([&](auto) {
            emit(Opcode::ClusterArrive, op).kind =
                isa<NVVM::ClusterArriveRelaxedOp>(op);
            return true;
          })
          .Case([&](NVVM::ClusterWaitOp) {
            emit(Opcode::ClusterWait, op);
            return true;
          })
          .Case([&](NVVM::SetMaxRegisterOp set) {
            Instruction &i = emit(Opcode::SetRegisters, op);
            i.imm = set.getRegCount();
            i.kind = set.getAction() == NVVM::SetMaxRegisterAction::decrease;
            return true;
          })
          .Case([&](NVVM::FenceProxyOp proxy) {
            return fence(proxy.getKind() == NVVM::ProxyKind::async ||
                                 proxy.getKind() ==
                                     NVVM::ProxyKind::async_shared
                             ? FenceKind::AsyncProxy
                             : FenceKind::Memory);
          })
          .Case([&](NVVM::FenceMbarrierInitOp) {
            return fence(FenceKind::MbarrierInit);
          })
          .Case<NVVM::MembarOp, NVVM::FenceScClusterOp>(
              [&](auto) { return fence(FenceKind::Memory); })
          .Case([&](NVVM::RcpApproxFtzF32Op rcp) {
            uint32_t a = slot(rcp.getArg());
            Instruction &i = emitResult(Opcode::Approx, op, rcp.getRes());
            i.a = a;
            i.kind = 2;
            return true;
          })
          .Case([&](NVVM::ConvertF32x2ToBF16x2Op convert) {
            if (convert.getRnd() != NVVM::FPRoundingMode::RN ||
                convert.getRelu() ||
                convert.getSat() != NVVM::SaturationMode::NONE)
              return false;
            uint32_t halves[] = {slot(convert.getSrcLo()),
                                 slot(convert.getSrcHi())};
            uint32_t dst = slot(convert.getDst());
            for (uint32_t half = 0; half < 2; ++half) {
              Instruction &i = emit(Opcode::FToF, op);
              i.dst = dst + half;
              i.a = halves[half];
              i.width = 2;
              i.results = 1;
            }
            return true;
          })
          .Case([&](NVVM::WgmmaFenceAlignedOp) {
            emit(Opcode::WgmmaFence, op);
            return true;
          })
          .Case([&](NVVM::WgmmaGroupSyncAlignedOp) {
            emit(Opcode::WgmmaCommit, op);
            return true;
          })
          .Case([&](NVVM::WgmmaWaitGroupSyncOp wait) {
            emit(Opcode::WgmmaWait, op).imm = wait.getGroup();
            return true;
          })
          .Case([&](NVVM::WgmmaMmaAsyncOp product) {
            return decodeWgmma(product);
          })
          .Case([](NVVM::NanosleepOp) { return true; })
          .Default([](Operation *) { return false; });
  return done || decodeWarp(op) || decodeMbarrier(op) || decodeAsync(op);
}
