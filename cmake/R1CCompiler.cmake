# Helpers for the rooms that use MLIR: dialects, passes, tools.
# Only the shared libMLIR and libLLVM are linked: a second, static copy would
# duplicate TypeIDs and command-line options and break plugins.

find_package(MLIR 22.1 REQUIRED CONFIG HINTS /usr/lib/llvm-22/lib/cmake/mlir)
list(APPEND CMAKE_MODULE_PATH ${MLIR_CMAKE_DIR} ${LLVM_CMAKE_DIR})
set(MLIR_LINK_MLIR_DYLIB ON)
set(LLVM_LINK_LLVM_DYLIB ON)
include(TableGen)
include(AddLLVM)
include(AddMLIR)
include_directories(SYSTEM ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})  # for TableGen
include_directories(${CMAKE_SOURCE_DIR})

add_library(r1c_mlir INTERFACE)
target_link_libraries(r1c_mlir INTERFACE r1c_options MLIR LLVM)
target_include_directories(r1c_mlir SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
target_compile_definitions(r1c_mlir INTERFACE ${LLVM_DEFINITIONS})

# MLIR's headers cost five seconds a file; with one precompiled header, one.
file(WRITE ${CMAKE_BINARY_DIR}/r1c_pch.cpp "// carries the precompiled header\n")
add_library(r1c_pch STATIC ${CMAKE_BINARY_DIR}/r1c_pch.cpp)
target_link_libraries(r1c_pch PUBLIC r1c_mlir)
target_precompile_headers(r1c_pch PRIVATE ${CMAKE_SOURCE_DIR}/cmake/pch.h)

# r1c_mlir_library(NAME sources... [LINK libs...] [DEPENDS tablegen-targets...])
function(r1c_mlir_library name)
  cmake_parse_arguments(ARG "" "" "LINK;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC r1c_mlir ${ARG_LINK})
  target_precompile_headers(${name} REUSE_FROM r1c_pch)
  add_dependencies(${name} r1c_pch)
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
endfunction()

# r1c_dialect(NAME td-file): TableGen for a dialect whose ops, types, attributes
# and enums all hang off one td file. Makes target r1c_<NAME>_gen and writes
# <Td>{Ops,Types,Attrs,Enums,Dialect}.{h,cpp}.inc beside the build's copy.
function(r1c_dialect name td)
  set(LLVM_TARGET_DEFINITIONS ${td}.td)
  mlir_tablegen(${td}Ops.h.inc -gen-op-decls)
  mlir_tablegen(${td}Ops.cpp.inc -gen-op-defs)
  mlir_tablegen(${td}Types.h.inc -gen-typedef-decls -typedefs-dialect=${name})
  mlir_tablegen(${td}Types.cpp.inc -gen-typedef-defs -typedefs-dialect=${name})
  mlir_tablegen(${td}Attrs.h.inc -gen-attrdef-decls -attrdefs-dialect=${name})
  mlir_tablegen(${td}Attrs.cpp.inc -gen-attrdef-defs -attrdefs-dialect=${name})
  mlir_tablegen(${td}Enums.h.inc -gen-enum-decls)
  mlir_tablegen(${td}Enums.cpp.inc -gen-enum-defs)
  mlir_tablegen(${td}Dialect.h.inc -gen-dialect-decls -dialect=${name})
  mlir_tablegen(${td}Dialect.cpp.inc -gen-dialect-defs -dialect=${name})
  add_public_tablegen_target(r1c_${name}_gen)

  # ./dev docs: the reference of the dialect, from the same file.
  if(NOT TARGET docs)
    add_custom_target(docs)
  endif()
  set(page ${CMAKE_BINARY_DIR}/docs/${name}.md)
  file(GLOB sources CONFIGURE_DEPENDS *.td)
  add_custom_command(OUTPUT ${page}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/docs
    COMMAND mlir-tblgen -gen-dialect-doc -dialect=${name} ${CMAKE_CURRENT_SOURCE_DIR}/${td}.td
            -I ${CMAKE_SOURCE_DIR} -I ${MLIR_INCLUDE_DIRS} -o ${page}
    DEPENDS ${sources})
  add_custom_target(r1c_${name}_doc DEPENDS ${page})
  add_dependencies(docs r1c_${name}_doc)
endfunction()

# r1c_passes(NAME td-file): TableGen for a Passes.td; target r1c_<NAME>_passes_gen.
function(r1c_passes name td)
  set(LLVM_TARGET_DEFINITIONS ${td}.td)
  mlir_tablegen(${td}.h.inc -gen-pass-decls -name ${name})
  add_public_tablegen_target(r1c_${name}_passes_gen)
endfunction()

# r1c_tool(NAME sources... [LINK libs...]): an executable in build/bin.
function(r1c_tool name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE r1c_mlir ${ARG_LINK})
  # -fPIC instead of CMake's -fPIE, or the precompiled header would not match.
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${name} PRIVATE -fPIC)
  target_precompile_headers(${name} REUSE_FROM r1c_pch)
  add_dependencies(${name} r1c_pch)
endfunction()
