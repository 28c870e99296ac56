# For image builds: checks a VHD, uploads it, waits until every target has its image, and prints the status table. It takes
# the same options as upload-vhd.sh, so that pipelines look the same on every system. This is why it has no param block.
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
# Return goldfleet's exit code instead of throwing an exception.
$PSNativeCommandUseErrorActionPreference = $false

$usage = @'
Usage: upload-vhd.ps1 --image NAME --version VERSION --os linux|windows [--generation v1|v2] [--config FILE] FILE

Checks FILE, uploads it as VERSION of the image NAME, waits until it is an image at every target, and prints the status
table on standard output.

  --image NAME         the image, such as windows-2025
  --version VERSION    its version, such as 2026.11.1
  --os OS              linux or windows
  --generation V       v1 or v2; deduced from the partition table, where not given
  --config FILE        goldfleet's configuration; goldfleet.toml in the working directory, where not given
  -h, --help           this

The program goldfleet is what $env:GOLDFLEET names, else the one on the PATH.

Exit codes, those of goldfleet: 0 all done; 1 some operation failed; 2 bad usage, configuration or input; 3 a service
refused or could not be reached; 130 interrupted.
'@

function Exit-BadUsage([string] $Message) {
    [Console]::Error.WriteLine("upload-vhd.ps1: $Message")
    [Console]::Error.WriteLine('')
    [Console]::Error.WriteLine($usage)
    exit 2
}

$file = ''
$given = @{}
$words = [System.Collections.Generic.Queue[string]]::new()
foreach ($word in $args) {
    # PowerShell parses 1.10 without quotes as the number 1.1. ('pwsh -File' passes all arguments as text.)
    if ($word -isnot [string]) { Exit-BadUsage "put '$word' into quotes: PowerShell took it for no text" }
    $words.Enqueue($word)
}
while ($words.Count -gt 0) {
    $word = $words.Dequeue()
    if ($word -in '-h', '--help') {
        Write-Output $usage
        exit 0
    }
    if ($word -cmatch '^--(image|version|os|generation|config)(=(.*))?$') {
        $name = $Matches[1]
        $value = ''
        if ($Matches.ContainsKey(2)) {
            $value = $Matches[3]
        }
        elseif ($words.Count -gt 0) {
            $value = $words.Dequeue()
        }
        if ($value -eq '') { Exit-BadUsage "--$name needs a value" }
        $given[$name] = $value
    }
    elseif ($word.StartsWith('-')) {
        Exit-BadUsage "there is no option $word"
    }
    elseif ($file -ne '') {
        Exit-BadUsage "there is one file at a time, not '$file' and '$word'"
    }
    else {
        $file = $word
    }
}
if ($file -eq '') { Exit-BadUsage 'which file?' }
foreach ($name in 'image', 'version', 'os') {
    if (-not $given.ContainsKey($name)) { Exit-BadUsage "--$name is missing" }
}
if ($given['os'] -cne 'linux' -and $given['os'] -cne 'windows') { Exit-BadUsage "--os is linux or windows, not '$($given['os'])'" }

$goldfleet = 'goldfleet'
if ($env:GOLDFLEET) { $goldfleet = $env:GOLDFLEET }
if (-not (Get-Command -Name $goldfleet -CommandType Application -ErrorAction SilentlyContinue)) {
    if ($env:GOLDFLEET) {
        [Console]::Error.WriteLine("upload-vhd.ps1: GOLDFLEET names $goldfleet, which is no program")
    }
    else {
        [Console]::Error.WriteLine('upload-vhd.ps1: there is no goldfleet on the PATH: install it, or name it in the variable GOLDFLEET')
    }
    exit 2
}

$config = @()
if ($given.ContainsKey('config')) { $config = @('--config', $given['config']) }
$generation = @()
if ($given.ContainsKey('generation')) { $generation = @('--generation', $given['generation']) }

& $goldfleet @config check $file @generation
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
& $goldfleet @config upload $file --image $given['image'] --version $given['version'] --os $given['os'] @generation --wait
exit $LASTEXITCODE
