# Interface targets every room links PRIVATE; nothing is set globally but the
# language standard and where programs are put.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON) # _GNU_SOURCE: ppoll, getopt_long, memfd
if(NOT CMAKE_BUILD_TYPE)
    # Without a preset: optimised, so that the compiler sees what it warns of; assertions stay on.
    set(CMAKE_BUILD_TYPE RelWithDebInfo)
    set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(KEYLINE_SANITIZE "" CACHE STRING "sanitizers, e.g. address,undefined or thread")
option(KEYLINE_WERROR "warnings are errors" OFF)
option(KEYLINE_FUZZ "build the libFuzzer targets (clang only)" OFF)

add_library(keyline_options INTERFACE)
target_compile_definitions(keyline_options INTERFACE _GNU_SOURCE
    KEYLINE_VERSION="${PROJECT_VERSION}")
target_include_directories(keyline_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(keyline_options INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wpointer-arith -Wcast-qual -Wwrite-strings -Wformat=2 -Wvla -Wundef
    -Wimplicit-fallthrough -Wno-missing-field-initializers
    $<$<BOOL:${KEYLINE_WERROR}>:-Werror>)
# Hardening: what Debian's own hardening=+all gives, stated here so that every build has it.
target_compile_options(keyline_options INTERFACE
    -fstack-protector-strong -fstack-clash-protection
    $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
target_link_options(keyline_options INTERFACE -Wl,-z,relro,-z,now -Wl,--as-needed)
if(KEYLINE_SANITIZE)
    target_compile_options(keyline_options INTERFACE
        -fsanitize=${KEYLINE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(keyline_options INTERFACE -fsanitize=${KEYLINE_SANITIZE})
endif()
if(KEYLINE_FUZZ) # libFuzzer follows the branches of everything that is built
    target_compile_options(keyline_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# keyline_program(name SOURCES... LINK targets... [LIBEXEC]): a program and its install place.
function(keyline_program name)
    cmake_parse_arguments(P "LIBEXEC" "" "SOURCES;LINK" ${ARGN})
    add_executable(${name} ${P_SOURCES})
    target_link_libraries(${name} PRIVATE keyline_options ${P_LINK})
    if(P_LIBEXEC)
        install(TARGETS ${name} DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/keyline)
    else()
        install(TARGETS ${name} DESTINATION ${CMAKE_INSTALL_BINDIR})
    endif()
endfunction()

# keyline_unit_test(name SOURCES... LINK targets...): a cmocka program ctest runs, label "quick".
function(keyline_unit_test name)
    cmake_parse_arguments(P "" "" "SOURCES;LINK" ${ARGN})
    add_executable(${name} ${P_SOURCES})
    set_target_properties(${name} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/bin)
    target_link_libraries(${name} PRIVATE keyline_options ${P_LINK} PkgConfig::CMOCKA)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS quick TIMEOUT 120)
endfunction()
