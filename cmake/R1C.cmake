# Warnings and include root for every target of r1c; helpers that need no LLVM.

add_library(r1c_options INTERFACE)
target_include_directories(r1c_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
target_compile_options(r1c_options INTERFACE -Wall -Wextra -Wno-unused-parameter)
# One meaning of a float expression everywhere: no contraction behind our back.
target_compile_options(r1c_options INTERFACE -ffp-contract=off)

# r1c_library(NAME sources... [LINK libs...] [DEPENDS targets...])
# A static library of one room; LINK is public.
function(r1c_library name)
  cmake_parse_arguments(ARG "" "" "LINK;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC r1c_options ${ARG_LINK})
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
endfunction()

# r1c_unittest(NAME sources... [LINK libs...]): a GoogleTest program, run by ctest.
function(r1c_unittest name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE r1c_options ${ARG_LINK} GTest::gtest GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600)
endfunction()
