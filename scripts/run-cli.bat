@echo off
rem The verbs of the people who carry changes, in the folder of a node:
rem   run-cli.bat migrate
rem   run-cli.bat seed role=shop store=1
rem   run-cli.bat export-change-log FILE
rem   run-cli.bat import-change-log FILE
rem   run-cli.bat push FILE
rem   run-cli.bat pull FILE
rem NODE names the settings (NODE=shop-1 takes shop-1.toml), else stepwell.toml; STEPWELL the program.
rem Its exit status is that of stepwell: 3 says that something waits. Not tried on Windows yet.
setlocal
if "%STEPWELL%"=="" set "STEPWELL=stepwell"
set "STEPWELL_CONFIG=stepwell.toml"
if not "%NODE%"=="" set "STEPWELL_CONFIG=%NODE%.toml"
if "%~1"=="migrate" goto job
if "%~1"=="seed" goto job
if "%~2"=="" goto usage
if "%~1"=="export-change-log" goto export
if "%~1"=="import-change-log" goto import
if "%~1"=="push" goto carry
if "%~1"=="pull" goto carry

:usage
echo run-cli.bat migrate ^| seed ^| export-change-log FILE ^| import-change-log FILE ^| push FILE ^| pull FILE 1>&2
exit /b 2

:job
"%STEPWELL%" run %*
exit /b %ERRORLEVEL%

:export
"%STEPWELL%" sync export --to "%~2" %3 %4 %5 %6
exit /b %ERRORLEVEL%

:import
"%STEPWELL%" sync import "%~2" %3 %4 %5 %6
exit /b %ERRORLEVEL%

:carry
"%STEPWELL%" sync %1 --file "%~2" %3 %4 %5 %6
exit /b %ERRORLEVEL%
